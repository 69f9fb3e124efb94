"""Summaries of the turns: medians, ratios and goals, as JSON, Markdown, text for a terminal, and a figure."""

import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from turns import WORKLOADS, Goal, processors

OWN = "tfmnist"
PACKAGES = ("tfmnist", "tensorflow", "keras", "torch", "jax", "numpy", "onnxruntime", "pillow")
COMMON = ("seconds", "cpu_seconds", "idle_cpu_seconds", "peak_rss_mb", "loss", "train_accuracy")  # of every turn
Results = dict[str, Any]
Contenders = Mapping[str, Mapping[str, Any]]


def summarise(workload: ModuleType, contenders: Contenders, load: float) -> dict[str, Any]:
    """Returns the summary of a workload; `load` is the machine's average load just before it was measured."""
    return {
        "work": workload.WORK,
        "unit": workload.UNIT,
        "steps": workload.STEPS,
        "date": datetime.date.today().isoformat(),
        "machine": {**machine(), "load": load},
        "versions": versions(),
        "contenders": {
            name: row(values, None if name in getattr(workload, "OTHER_WORK", ()) else contenders[OWN], workload.STEPS)
            for name, values in contenders.items()
        },
        "goals": [measure_goal(goal, contenders) for goal in workload.GOALS],
    }


def row(values: Mapping[str, Any], own: Mapping[str, Any] | None, steps: int | None) -> dict[str, Any]:
    """Returns the figures of one contender; those of the turns are medians over all but the first.

    Without `own`, tfmnist's turns, there is no ratio.
    """
    seconds = [turn["seconds"] for turn in values["turns"]]
    later = values["turns"][1:]
    median = statistics.median(seconds[1:]) if later else None
    names = [name for name in (later[0] if later else {}) if name not in COMMON]
    return {
        "precision": values.get("precision"),
        "note": values.get("note"),
        "error": values["error"],
        "setup_seconds": values.get("setup_seconds"),
        "first": seconds[0] if seconds else None,
        "median": median,
        "fastest": min(seconds[1:], default=None),
        "slowest": max(seconds[1:], default=None),
        "us_a_step": median / steps * 1e6 if median is not None and steps else None,
        "ratio": median_ratio(values, own, "seconds", "later") if own else None,
        "accuracy": values["accuracy"],
        "peak_rss_mb": max((turn["peak_rss_mb"] for turn in values["turns"]), default=None),
        "figures": {name: statistics.median(turn[name] for turn in later) for name in names},
        "turns": values["turns"],
    }


def figures_of(values: Mapping[str, Any], measure: str, turns: str) -> list[float]:
    """Returns a figure of the first turn, or of all later ones; nothing for a contender that failed."""
    chosen = values["turns"][:1] if turns == "first" else values["turns"][1:]
    return [] if values["error"] else [turn[measure] for turn in chosen if measure in turn]


def median_ratio(rival: Mapping[str, Any], own: Mapping[str, Any], measure: str, turns: str) -> float | None:
    """Returns the median of the ratios of rival to own, over pairs of the same turn."""
    pairs = zip(figures_of(rival, measure, turns), figures_of(own, measure, turns))
    ratios = [rival_figure / own_figure for rival_figure, own_figure in pairs if own_figure]
    return statistics.median(ratios) if ratios else None


def measure_goal(goal: Goal, contenders: Contenders) -> dict[str, Any]:
    """Returns the required ratio of a goal and the measured one, which is None if either side has no figure."""
    medians = {
        name: statistics.median(figures)
        for name in goal.rival.split(" | ")
        if (figures := figures_of(contenders[name], goal.measure, goal.turns))
    }
    best = min(medians, key=lambda name: medians[name], default=None)
    measured = median_ratio(contenders[best], contenders[goal.own], goal.measure, goal.turns) if best else None
    return {
        "own": goal.own,
        "rival": best or goal.rival,
        "among": goal.rival,
        "measure": goal.measure,
        "turns": goal.turns,
        "goal": goal.ratio,
        "measured": measured,
        "reached": measured is not None and measured >= goal.ratio,
    }


def machine() -> dict[str, Any]:
    """Returns what the speed depends on: processor, memory, instructions for wide vectors and matrices."""
    model, flags = platform.machine(), set()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "model name":
            model = value
        elif key == "flags":
            flags |= set(value.split())
    instructions = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16") if name in flags]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return {
        "processor": model,
        "processors": processors(),
        "memory_gb": round(memory / 1e9),
        "instructions": instructions,
    }


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the installed frameworks."""
    installed = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def read(path: Path) -> Results:
    """Reads results, or starts new ones."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"workloads": {}}


def merge(path: Path, name: str, result: dict[str, Any]) -> None:
    """Replaces the result of a workload, and keeps those of the others."""
    results = read(path)
    kept = {**results["workloads"], name: result}
    order = [*(known for known in WORKLOADS if known in kept), *(other for other in kept if other not in WORKLOADS)]
    results["versions"] = result["versions"]
    results["workloads"] = {known: kept[known] for known in order}
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def markdown(results: Results) -> str:
    """Returns all tables as Markdown."""
    lines = ["# Benchmarks", ""]
    lines += ["Times are medians of the turns after the first; ratios are medians over pairs of the same turn.", ""]
    goals = [cells for name, result in results["workloads"].items() for cells in goal_rows(name, result)]
    if goals:
        lines += [*markdown_table(("workload", "tfmnist compared with", "goal", "measured", "reached"), goals), ""]
    for name, result in results["workloads"].items():
        measured = f"Measured {result['date']} on {machine_line(result)}; {version_line(result)}."
        lines += [f"## {name}", "", f"{result['work']}.", "", measured, ""]
        lines += [*markdown_table(*contender_table(result, wide=True)), ""]
        if (head_and_rows := figure_table(result))[1]:
            lines += [*markdown_table(*head_and_rows), ""]
        notes = {key: values["note"] for key, values in result["contenders"].items() if values["note"]}
        lines += [*(f"- {key}: {note}" for key, note in notes.items()), ""] if notes else []
    return "\n".join(lines).rstrip() + "\n"


def text(results: Results, names: Sequence[str]) -> str:
    """Returns the tables of some workloads for a terminal of 80 columns."""
    lines: list[str] = []
    for name in names:
        result = results["workloads"][name]
        lines += ["", *textwrap.wrap(f"{name}: {result['work']}", 80), *textwrap.wrap(machine_line(result), 80), ""]
        lines += plain_table(*contender_table(result, wide=False))
        if (head_and_rows := figure_table(result))[1]:
            lines += ["", *plain_table(*head_and_rows)]
        for key, values in result["contenders"].items():
            lines += textwrap.wrap(f"{key} failed: {values['error']}", 80) if values["error"] else []
    goals = [cells for name in names for cells in goal_rows(name, results["workloads"][name])]
    if goals:
        lines += ["", *plain_table(("workload", "tfmnist compared with", "goal", "measured", "reached"), goals)]
    return "\n".join(lines)


def machine_line(result: Mapping[str, Any]) -> str:
    """Returns the machine of a measurement and its load: `AMD EPYC, 2 processors, 25 GB, avx512f, no AMX; load 0.1`."""
    host = result["machine"]
    instructions = [name for name in host["instructions"] if not name.startswith("amx")]
    amx = "AMX" if len(instructions) < len(host["instructions"]) else "no AMX"
    words = (host["processor"], f"{host['processors']} processors", f"{host['memory_gb']} GB", *instructions, amx)
    return f"{', '.join(words)}; load before {host['load']:.1f}"


def version_line(result: Mapping[str, Any]) -> str:
    """Returns the versions of Python and of the frameworks of a measurement."""
    return ", ".join(f"{name} {version}" for name, version in result["versions"].items())


def contender_table(result: Mapping[str, Any], wide: bool) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Returns head and rows, one per contender: seconds, multiple of tfmnist's time, accuracy, memory."""
    head = ("contender", *(("precision", "set-up s") if wide else ()), "first s", "median s")
    head += (*(("fastest", "slowest") if wide else ()), "µs per step", "ratio", "test", "MB")
    rows: list[tuple[str, ...]] = []
    for name, values in result["contenders"].items():
        if values["error"]:
            rows.append((name, f"failed: {values['error']}" if wide else "failed"))
            continue
        middle = (number(values["fastest"]), number(values["slowest"])) if wide else ()
        rows.append(
            (
                name,
                *((values["precision"], number(values["setup_seconds"])) if wide else ()),
                number(values["first"]),
                number(values["median"]),
                *middle,
                number(values["us_a_step"]),
                number(values["ratio"]),
                "" if values["accuracy"] is None else f"{values['accuracy']:.2%}",
                number(values["peak_rss_mb"]),
            )
        )
    return drop_empty(head, rows)


def figure_table(result: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Returns head and rows of the contenders' own figures."""
    rows = {name: values["figures"] for name, values in result["contenders"].items() if values["figures"]}
    names = list(dict.fromkeys(name for figures in rows.values() for name in figures))
    cells = [(name, *(number(figures.get(key)) for key in names)) for name, figures in rows.items()]
    return ("contender", *(name.replace("_", " ") for name in names)), cells


def goal_rows(name: str, result: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yields one row per goal: workload, rival, required ratio, measured ratio, and whether it is reached."""
    for goal in result["goals"]:
        about = [goal["measure"].replace("_", " ")] if goal["measure"] != "seconds" else []
        about += ["first turn"] if goal["turns"] == "first" else []
        who = goal["own"].removeprefix(OWN).strip()
        against = f"{who}: {goal['rival']}" if who else goal["rival"]
        against += f" ({', '.join(about)})" if about else ""
        measured = "none" if goal["measured"] is None else number(goal["measured"])
        yield name, against, number(goal["goal"]), measured, "yes" if goal["reached"] else "no"


def number(value: float | None) -> str:
    """Returns a number with three digits, more only before the point; an empty text for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def drop_empty(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Returns a table without its empty columns; short rows are padded."""
    full = [(*cells, *[""] * (len(head) - len(cells))) for cells in rows]
    kept = [index for index in range(len(head)) if any(cells[index] for cells in full)]
    return tuple(head[i] for i in kept), [tuple(cells[i] for i in kept) for cells in full]


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yields the lines of a table in Markdown."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for cells in rows:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def plain_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yields the lines of a table for a terminal: names to the left, numbers to the right."""
    widths = [max(len(cells[column]) for cells in (head, *rows)) for column in range(len(head))]
    for cells in (head, *rows):
        yield "  ".join(
            cell.rjust(width) if is_number(column, rows) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths))
        ).rstrip()


def is_number(column: int, rows: Sequence[Sequence[str]]) -> bool:
    """Returns whether a column holds numbers."""
    return any(cells[column][:1].isdigit() for cells in rows)


def draw(results: Results, path: Path) -> None:
    """Draws the times of all contenders relative to tfmnist's, a panel for each workload, and writes the figure."""
    from matplotlib.lines import Line2D

    from tfmnist.reports.style import BLUE, GREEN, INK, LIGHT, QUIET, TITLE, VERMILION, make_figure, save

    panels = {name: rows for name, result in results["workloads"].items() if (rows := ratios_of(result))}
    if not panels:
        return
    styles = {"tfmnist": (BLUE, "s"), "others": (VERMILION, "o"), "limit: products and update alone": (GREEN, "D")}
    ratios = [ratio for rows in panels.values() for _, ratio in rows]
    heights = {name: len(rows) + 2 for name, rows in panels.items()}  # in lines of text, with the title
    columns = in_columns(heights, 3)
    figure = make_figure(13.5, 1 + 0.19 * max(sum(heights[name] for name in column) for column in columns))
    for part, names in zip(figure.subfigures(1, len(columns), squeeze=False)[0], columns):
        sizes = [len(panels[name]) for name in names]
        for name, axes in zip(names, part.subplots(len(names), height_ratios=sizes, squeeze=False)[:, 0]):
            axes.set_title(name, **{**TITLE, "fontsize": 10, "pad": 3})
            axes.set_xscale("log")
            axes.set_xlim(min(ratios) / 12, max(ratios) * 12)
            axes.set_ylim(len(panels[name]) - 0.5, -0.5)
            axes.set_yticks([])
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.tick_params(which="both", length=0, labelsize=8, labelcolor=QUIET, labelbottom=name == names[-1])
            axes.grid(axis="x", color=LIGHT, linewidth=0.8)
            axes.axvline(1, color=INK, linewidth=0.8, zorder=1)
            axes.set_axisbelow(True)
            axes.spines[:].set_visible(False)
            for line, (label, ratio) in enumerate(panels[name]):
                kind = next((kind for kind in styles if label.startswith(kind[:5])), "others")
                colour, marker = styles[kind]
                axes.plot([1, ratio], [line, line], color=colour, linewidth=1.2, alpha=0.5)
                axes.plot(ratio, line, marker, color=colour, markersize=5)
                side, align = (-7, "right") if ratio < 1 else (7, "left")
                text = {"xytext": (side, 0), "textcoords": "offset points", "ha": align, "va": "center"}
                note = axes.annotate(f"{label}  {number(ratio)}", (ratio, line), fontsize=8, color=INK, **text)
                note.set_in_layout(False)  # or the panels would have different widths
    figure.suptitle("Time for the same work, as a multiple of tfmnist's: less is faster", fontsize=13, color=INK)
    keys = [Line2D([], [], color=c, marker=m, linestyle="", markersize=6, label=k) for k, (c, m) in styles.items()]
    figure.legend(handles=keys, loc="outside lower center", ncols=3, fontsize=9, frameon=False, labelcolor=INK)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(figure, path)


def ratios_of(result: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Returns the contenders with a ratio, the fastest first."""
    rows = [(name, values["ratio"]) for name, values in result["contenders"].items() if values["ratio"]]
    return sorted(rows, key=lambda row: row[1])


def in_columns(heights: Mapping[str, int], count: int) -> list[list[str]]:
    """Returns the names of panels in at most `count` columns of about equal height, in order."""
    columns: list[list[str]] = [[]]
    for name, height in heights.items():
        filled = sum(heights[other] for other in columns[-1])
        if columns[-1] and len(columns) < count and filled + height / 2 > sum(heights.values()) / count:
            columns.append([])
        columns[-1].append(name)
    return columns
