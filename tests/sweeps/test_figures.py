"""Figures of a sweep: they say the right thing and have room, however many trials and keys there are."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from tfmnist.reports import style
from tfmnist.sweeps import figures
from tfmnist.sweeps.figures import Key, Scale, Trials


def made(count: int, states: tuple[str, ...] = ("done",), loss: bool = False) -> Trials:
    source = np.random.default_rng(count)
    names = tuple(states[number % len(states)] for number in range(count))
    results = np.where(np.arange(count) % 9 == 4, 10, source.uniform(97, 98, count))
    results = np.where([name == "done" for name in names], 2.5 - results / 100 if loss else results, np.nan)
    curves = tuple(np.stack([np.arange(1, 4), source.uniform(90, 97, 3)], 1) * 1.0 for _ in names)
    last = [curve[-1, 1] if name == "pruned" else np.nan for name, curve in zip(names, curves)]
    order = np.nanargmin(results) if loss else np.nanargmax(results)
    results = np.where(np.isnan(results), last, results)
    return Trials(np.arange(count), names, results, source.uniform(1, 90, count), curves, loss, int(order))


def keys_of(count: int, trials: int) -> list[Key]:
    source = np.random.default_rng(count)
    names = tuple(f"a_very_long_name_of_choice_{index}" for index in range(25))
    found = [
        Key("loss.label_smoothing", source.uniform(0, 0.2, trials), (0.0, 0.2)),
        Key("optimizer.learning_rate", 10.0 ** source.uniform(-5, 0, trials), (1e-5, 1.0), log=True),
        Key("model.of_many_long_names_$x_y$", source.integers(25, size=trials) * 1.0, (0, 24), choices=names),
        Key("model.hidden", source.integers(3, size=trials) * 1.0, (0, 2), choices=("[]", "[512]", "[512, 256]")),
        Key("train.epochs", source.integers(1, 3, size=trials) * 1.0, (1.0, 2.0), whole=True),
    ]
    found[0].values[::3] = np.nan
    return [found[index % 5] for index in range(count)]


def test_500_trials_of_ten_keys_have_room(tmp_path: Path) -> None:
    trials = made(500, ("done", "done", "pruned", "diverged", "failed"))
    figure = figures.parallel_coordinates(trials, keys_of(10, 500))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    lines = {str(part.get_label()): part for part in axes.collections if isinstance(part, LineCollection)}
    assert len(lines["best"].get_segments()) == 1
    assert lines["best"].get_zorder() == max(part.get_zorder() for part in lines.values())
    assert len(lines["pruned"].get_segments()[0]) == 10, "pruned trials end before the result"
    assert len(lines["diverged"].get_segments()[0]) == 11
    boxes = [text.get_window_extent() for text in axes.texts]
    for number, box in enumerate(boxes):
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width
        assert not any(box.overlaps(other) for other in boxes[:number]), axes.texts[number].get_text()
    path = tmp_path / "slices.png"
    style.save(figures.slices(trials, keys_of(10, 500)), path)
    assert path.stat().st_size < 900_000


def test_slices_say_under_which_condition_a_key_is_searched() -> None:
    key = Key("optimizer.momentum", np.full(9, 0.5), (0.0, 1.0), note="where optimizer.kind is momentum")
    figure = figures.slices(made(9), [key])
    assert figure.axes[0].get_xlabel() == "where optimizer.kind is momentum"
    names = {str(label) for axes in figure.axes for label in axes.get_legend_handles_labels()[1]}
    assert names == {"done", "best", "beyond the axis"}


def test_the_front_is_drawn_with_numbers() -> None:
    trials = made(40)
    figure = figures.pareto_front(trials, [int(trials.best or 0)])
    assert figure.axes[0].get_xscale() == "log"
    assert [text.get_text() for text in figure.axes[0].texts] == [str(trials.best)]


def test_curves_end_in_marks() -> None:
    figure = figures.trial_curves(made(30, ("done", "pruned", "diverged")))
    marks = {str(line.get_label()): line for line in figure.axes[0].lines}
    assert {"done", "pruned", "diverged", "best"} <= set(marks)
    assert len(marks["pruned"].get_xdata()) == 10  # type: ignore[arg-type]


@pytest.mark.parametrize("loss", [False, True])
def test_good_trials_can_be_distinguished(loss: bool) -> None:
    values = np.array([0.1, 0.2, 0.3, 0.4, 9.0]) if loss else np.array([98.5, 98.4, 98.3, 98.2, 10.0])
    scale = Scale.of(values, loss)
    assert scale.best == values[0] and scale.edge == pytest.approx(0.7 if loss else 97.9)
    low, high = sorted((scale.best, scale.edge))
    assert scale.beyond(values).tolist() == [False] * 4 + [True]
    assert all(low - 0.1 <= tick <= high + 0.1 for tick in scale.ticks())
    assert (scale.outside > scale.edge) == loss
    for few in (values[:1], values[:2], values[:0], np.full(3, np.nan)):
        assert not Scale.of(few, loss).beyond(few).any() and Scale.of(few, loss).ticks()


@pytest.mark.parametrize(
    ("ends", "log", "whole", "ticks"),
    [
        ((1e-4, 0.1), True, False, ["0.0001", "0.001", "0.01", "0.1"]),
        ((16.0, 1024.0), True, True, ["30", "100", "300", "1000"]),
        ((1.0, 2.0), False, True, ["1", "2"]),
        ((0.0, 0.2), False, False, ["0", "0.05", "0.1", "0.15", "0.2"]),
        ((0.012, 0.018), True, False, ["0.012", "0.014", "0.016", "0.018"]),
    ],
)
def test_ticks_are_round(ends: tuple[float, float], log: bool, whole: bool, ticks: list[str]) -> None:
    assert Key("a.b", np.zeros(0), ends, log, whole).labels() == ticks
