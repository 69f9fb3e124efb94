"""Figures and pages, drawn from plain arrays.

Matplotlib through its object-oriented interface: no pyplot, no window, no global state, and no import before the first
figure. Colours are those of Okabe and Ito ("Color universal design", 2008), which colour-blind readers can distinguish;
a marker, line style or number always repeats what a colour says, so a black-and-white print loses nothing.
"""
