"""The report of a sweep: tables of all kinds give a page and figures that say the right thing, or one line."""

import json
import random
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfmnist.errors import InputError
from tfmnist.recipe import Recipe
from tfmnist.sweeps.figures import Key, Trials
from tfmnist.sweeps.report import compare, explained, write_sweep_report
from tfmnist.sweeps.sweep_file import Range, Search, Sweep
from tfmnist.sweeps.trials import SeedResult, StudyResult, Trial, write_table

HIDDEN: list[list[int]] = [[], [128], [512, 256]]
SPACE: dict[str, Any] = {
    "model.hidden": {"choice": HIDDEN},
    "optimizer.kind": {"choice": ["adam", "momentum"]},
    "optimizer.learning_rate": {"low": 1e-4, "high": 0.1, "log": True},
    "optimizer.momentum": {"low": 0.5, "high": 0.99, "when": {"optimizer.kind": "momentum"}},
    "train.batch_size": {"low": 16, "high": 1024, "log": True},
}
EVERY = ["test_accuracy", "history", "parallel_coordinates", "slices", "learning_curves"]
REMEDY = "is this a sweep's folder? Resume the sweep with 'tfmnist sweep'."


def trial(number: int, values: dict[str, Any], state: Any = "done", reached: float = 0.98) -> Trial:
    """A trial that ended; `reached` is an accuracy, and stands for a loss as well."""
    epochs = {"done": 3, "pruned": 2, "diverged": 1}.get(state, 0)
    results = [reached] if state == "done" else []
    return Trial(
        number,
        values,
        state,
        result=reached if results else None,
        results=results,
        seconds=6.0 + number % 7,
        epochs=epochs,
        curve=[
            {
                "epoch": epoch,
                "validation_accuracy": reached - 0.01 * (3 - epoch),
                "validation_loss": 1.5 - reached + 0.1 * (3 - epoch),
                "seconds": 2.0,
            }
            for epoch in range(1, epochs + 1)
        ],
        reason={"pruned": "worse than others after 2 epochs", "failed": "SIGKILL <b>"}.get(state, ""),
    )


def drawn(count: int, states: tuple[str, ...] = ("done",)) -> list[Trial]:
    """Trials over `SPACE`, the states in turn; some learned nothing."""
    source, found = random.Random(count), []
    for number in range(count):
        values: dict[str, Any] = {
            "model.hidden": source.choice(HIDDEN),
            "optimizer.kind": source.choice(["adam", "momentum"]),
            "optimizer.learning_rate": 10 ** source.uniform(-4, -1),
        }
        if values["optimizer.kind"] == "momentum":
            values["optimizer.momentum"] = source.uniform(0.5, 0.99)
        values["train.batch_size"] = source.randint(16, 1024)
        reached = 0.1 if number % 11 == 5 else source.uniform(0.97, 0.985)
        found.append(trial(number, values, states[number % len(states)], reached))
    return found


def make(
    folder: Path,
    trials: list[Trial],
    space: dict[str, Any] = SPACE,
    total: int = 0,
    confirmed: tuple[StudyResult, ...] = (),
    **search: Any,
) -> Path:
    """Writes the table of a sweep as a sweep does, and returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    ranges = {key: Range(**within) for key, within in space.items()}
    searched = Search(trials=total or max(len(trials), 1), **search)
    write_table(
        Sweep(name="widths", recipe=Recipe.load("mlp"), space=ranges, search=searched), folder, trials, confirmed
    )
    return folder


def study(name: str, *shares: float) -> StudyResult:
    rows = (SeedResult(name, seed, share, None, 12.0) for seed, share in enumerate(shares))
    return StudyResult(Path(name), tuple(rows))


class Page(HTMLParser):
    """Collects the cells and images of a page, and checks that its tags nest."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.plain = re.sub(r"base64,[A-Za-z0-9+/=]+", "", self.text)
        self.open: list[str] = []
        self.images: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(self.text)
        assert self.open == []
        assert "http" not in self.plain and "<script" not in self.plain

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.images.append(str(dict(attrs)["src"]))
            assert dict(attrs)["alt"] and self.images[-1].startswith("data:image/png;base64,")
        elif tag not in ("meta", "link", "br"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def figures(folder: Path) -> set[str]:
    return {path.stem for path in (folder / "figures").iterdir()}


def test_a_finished_sweep(tmp_path: Path) -> None:
    trials = drawn(60, ("done", "done", "done", "pruned", "diverged", "done", "failed"))
    confirmed = (study("best", 0.983, 0.984, 0.985), study("unswept", 0.975, 0.976, 0.974))
    folder = make(tmp_path / "a 'b'", trials, confirmed=confirmed)
    assert write_sweep_report(folder) == folder / "report.html"
    page = Page(folder / "report.html")
    assert figures(folder) == set(EVERY) and len(page.images) == len(EVERY)
    best = max(trials, key=lambda row: row.result or 0)
    assert f"<h1>{100 * (best.result or 0):.2f}\xa0%</h1>" in page.text
    assert f"Trial {best.number}, the best of 35 done, chosen by its validation result" in page.text
    assert "<dt>Pruned</dt><dd>9</dd>" in page.text and "is running" not in page.text
    # The verdict is first, and is about the test set.
    assert page.text.index("The best recipe is better than the baseline by 0.90") < page.text.index("<h2>History")
    assert ["Best recipe", "98.40\xa0%", "± 0.10", "3", "12.0"] in page.rows
    # The best recipe is named, can be run, and stands whole on the page.
    hidden = json.dumps(best.values["model.hidden"])
    assert ["model.hidden", hidden, "[], [128], [512, 256]"] in page.rows
    assert any(row[0] == "train.batch_size" and row[2] == "16 to 1024, log" for row in page.rows)
    assert "tfmnist train &#39;" in page.text and "name = &#34;widths-best&#34;" in page.text
    # All trials are there, the best first, reasons escaped.
    rows = page.rows[-61:]
    assert rows[0][:6] == ["Trial", "State", "Result", "Seconds", "Epochs", "hidden"] and rows[0][-1] == "Reason"
    assert rows[1][0] == str(best.number) and "<summary>All 60 trials</summary>" in page.text
    assert sorted(int(row[0]) for row in rows[1:]) == list(range(60))
    assert any(row[1] == "failed" and row[-1] == "SIGKILL <b>" for row in rows) and "<b>" not in page.text
    assert any(row[8] == "-" for row in rows), "a key that a trial does not search"
    # Some learned nothing; the page says that the axis leaves them out.
    assert "marked in the grey strip" in page.text
    assert {path.name for path in folder.iterdir()} == {"sweep.json", "best.toml", "report.html", "figures"}


def test_one_trial_of_a_running_sweep(tmp_path: Path) -> None:
    folder = make(tmp_path, drawn(1), total=40)
    (folder / "best.toml").unlink()
    page = Page(write_sweep_report(folder))
    assert figures(folder) == {"history", "parallel_coordinates", "slices", "learning_curves"}
    assert "1 of 40 trials have ended: the sweep is running or was stopped" in page.text
    assert "baseline" not in page.text and "tfmnist train" not in page.text


@pytest.mark.parametrize("states", [("pruned", "diverged"), ("failed", "diverged")])
def test_no_trial_done(states: tuple[str, ...], tmp_path: Path) -> None:
    first = write_sweep_report(make(tmp_path, drawn(4, states))).read_bytes()
    assert states[0] == "pruned" or write_sweep_report(tmp_path).read_bytes() == first
    page = Page(tmp_path / "report.html")
    assert "<h1>no result</h1>" in page.text and "No trial was trained to the end" in page.text
    assert "parallel_coordinates" not in figures(tmp_path) and {"history", "slices"} <= figures(tmp_path)
    assert "Best recipe" not in page.text


def test_the_smallest_loss_is_best(tmp_path: Path) -> None:
    trials = drawn(12, ("done", "done", "pruned"))
    confirmed = (study("best", 0.98), study("unswept", 0.97))
    search: dict[str, Any] = {"objective": "loss", "seeds": (0, 1), "minutes": 5, "total": 20}
    page = Page(write_sweep_report(make(tmp_path, trials, confirmed=confirmed, **search)))
    assert "12 of 20 trials in its 5 minutes" in page.text and "with a single seed" in page.text
    least = min(row.result for row in trials if row.result)
    assert f"<h1>{least:.4f}</h1>" in page.text and "best validation loss" in page.text
    assert "Only the first seed of each trial is shown." in page.text
    assert next(row[2] for row in page.rows if row[1:2] == ["done"]) == f"{least:.4f}"


def test_accuracy_and_time_have_a_front(tmp_path: Path) -> None:
    folder = make(tmp_path, drawn(14), objective="accuracy and time")
    page = Page(write_sweep_report(folder))
    front = json.loads((folder / "sweep.json").read_text())["front"]
    assert "pareto_front" in figures(folder)
    assert [row[0] for row in page.rows if row[0].startswith("Trial ")] == [f"Trial {number}" for number in front]


def test_one_key_of_few_epochs(tmp_path: Path) -> None:
    space = {"model.bias": {"choice": [True, False]}}
    trials = [trial(number, {"model.bias": number % 2 == 0}) for number in range(12)]
    for row in trials:
        row.curve = row.curve[-1:]
    page = Page(write_sweep_report(make(tmp_path, trials, space)))
    assert figures(tmp_path) == {"history", "parallel_coordinates", "slices"}, "a curve of one epoch is none"
    assert ["model.bias", "true", "true, false"] in page.rows


def test_the_key_that_decides_explains_the_ranking() -> None:
    random = np.random.default_rng(0)
    rates, sizes = random.uniform(-4, -1, 40), random.uniform(0, 1, 40)
    results = 0.98 - 0.01 * np.abs(rates + 2)
    trials = Trials(np.arange(40), ("done",) * 40, results, np.ones(40), (np.zeros([0, 2]),) * 40)
    decides, idle = Key("a.rate", rates, (-4.0, -1.0)), Key("a.size", sizes, (0.0, 1.0))
    assert (explained(trials, decides) or 0) > 0.8 and (explained(trials, idle) or 0) < 0.2
    # what was pruned or diverged counts: else the values that a clear winner left over would seem not to matter
    winner = Key("a.kind", (np.arange(40) % 2).astype(float), (0, 1), choices=("good", "bad"))
    for state in ("pruned", "diverged"):
        states = tuple(state if odd else "done" for odd in winner.values)
        values = np.where(winner.values, 0.5 if state == "pruned" else np.nan, results)
        trials = Trials(np.arange(40), states, values, np.ones(40), (np.zeros([0, 2]),) * 40)
        assert (explained(trials, winner) or 0) > 0.7


def test_a_few_trials_explain_nothing() -> None:
    for count in (0, 9):
        values, curves = np.arange(count) / 10, (np.zeros([0, 2]),) * count
        trials = Trials(np.arange(count), ("done",) * count, values, np.ones(count), curves)
        assert explained(trials, Key("a.b", values, (0.0, 1.0))) is None


def test_no_trial_has_ended(tmp_path: Path) -> None:
    folder = make(tmp_path, [], total=40)
    with pytest.raises(InputError) as caught:
        write_sweep_report(folder)
    assert str(caught.value) == f"{folder}/sweep.json: no trial has ended yet; wait, or resume it with 'tfmnist sweep'."
    assert not (folder / "report.html").exists()


def test_without_a_table(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        write_sweep_report(tmp_path)
    assert str(caught.value) == f"{tmp_path}/sweep.json: missing; {REMEDY}"


@pytest.mark.parametrize(
    ("where", "value", "why"),
    [
        (["sweep"], None, "sweep Input should be a valid string"),
        (["best"], 7, "7 is not in list"),
        (["front"], [9], "9 is not in list"),
        (["trials", 0, "curve", 0], {"epoch": 1}, "'validation_accuracy'"),
        (["trials", 0, "values", "model.hidden"], [7], "is not in list"),
        (["trials", 0, "values", "train.batch_size"], "many", "could not convert string to float: 'many'"),
        (["trials", 0, "state"], "dead", "trials 0 state"),
        (["space", "optimizer.learning_rate", "low"], 1, "below high"),
    ],
)
def test_a_damaged_table_is_one_line(where: list[Any], value: Any, why: str, tmp_path: Path) -> None:
    path = make(tmp_path, drawn(1)) / "sweep.json"
    table = part = json.loads(path.read_text())
    for key in where[:-1]:
        part = part[key]
    part[where[-1]] = value
    path.write_text(json.dumps(table))
    assert why in fails(tmp_path)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff\xfe", b'{"sweep": '])
def test_no_table_at_all_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_bytes(content)
    fails(tmp_path)


def fails(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        write_sweep_report(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder}/sweep.json: damaged: ") and message.endswith(REMEDY)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("best", "baseline", "says"),
    [
        (
            [0.98, 0.99],
            [0.97, 0.98],
            "No improvement is proven: the best recipe differs from the baseline by +1.00 point",
        ),
        (
            [0.981, 0.983, 0.982],
            [0.975, 0.976, 0.974],
            "The best recipe is better than the baseline by 0.70 points, 8.6 standard errors of the difference. "
            "The luck of the seeds is an unlikely explanation.",
        ),
        ([0.97, 0.98], [0.98, 0.99], "by -1.00 points, 1.4 standard errors of the difference. The luck"),
        ([0.97, 0.971], [0.98, 0.981], "worse than the baseline by 1.00 points, 14.1 standard errors"),
        ([0.99], [0.98], "by +1.00 points with a single seed, which may be luck"),
        ([0.98, 0.98], [0.98, 0.98], "differs from the baseline by +0.00 points, with no spread"),
        ([0.99, 0.99], [0.98, 0.98], "better than the baseline by 1.00 points, with no spread"),
    ],
)
def test_luck_is_not_sold_as_progress(best: list[float], baseline: list[float], says: str) -> None:
    assert says in compare(best, baseline)


def test_importing_needs_no_search_library() -> None:
    code = "import sys, tfmnist.sweeps.report; print({'optuna', 'matplotlib', 'tensorflow'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
