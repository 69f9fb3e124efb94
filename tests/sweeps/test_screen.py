"""What a sweep prints, as lines where nobody looks and as a table in a terminal."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from tfmnist.sweeps.screen import SweepScreen, show_seed, show_study
from tfmnist.sweeps.sweep_file import Sweep
from tfmnist.sweeps.trials import SeedResult, StudyResult, SweepProgress, SweepResult, Trial

SWEEP = Sweep.parse('[space]\n"optimizer.learning_rate" = [0.1, 1.0]\n"model.dropout" = [0.0, 0.5]\n', "rates")
VALUES = {"optimizer.learning_rate": 0.1, "model.dropout": 0.5}
REASON = "diverged: the loss is nan after 3 steps, learning rate 0.1; lower optimizer.learning_rate."
TRIALS = [
    Trial(0, VALUES, "done", 0.9712, [0.9712], 2.04, 3),
    Trial(1, VALUES, "diverged", reason=REASON, epochs=1, seconds=0.5),
    Trial(2, VALUES, epochs=1),
]
SEED = SeedResult("unswept", 4, 0.97, None, 2.04)
STUDY = StudyResult(Path("unswept"), (SEED, SeedResult("unswept", 5, 0.98, 0.96, 2.04)))


def test_one_line_per_trial(capsys: pytest.CaptureFixture[str]) -> None:
    with SweepScreen(SWEEP) as screen:
        for ended in (None, TRIALS[0], TRIALS[1]):
            screen.show(SweepProgress(TRIALS, 4, 2, ended))
        screen.show(SEED)
    assert capsys.readouterr().out.splitlines() == [
        "2/4  trial 0  97.12%  learning_rate 0.1, dropout 0.5",
        "2/4  trial 1  diverged  learning_rate 0.1, dropout 0.5 (the loss is nan after 3 steps)",
        "baseline seed 4: test 97.00%, validation -, 2.0 s",
    ]


def test_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with SweepScreen(SWEEP) as screen:
        screen.show(SweepResult(Path("a"), TRIALS, TRIALS[0], None, (STUDY, STUDY), "too few", [TRIALS[0]]))
    out = capsys.readouterr().out
    assert "best     trial 0: 97.12% on validation\n         learning_rate 0.1, dropout 0.5\n" in out
    assert "    0   97.12%     2.0 s  learning_rate 0.1, dropout 0.5\n" in out
    assert "baseline test accuracy 97.50% ± 0.71 (mean ± sd of 2 seeds)\n" in out
    assert "not confirmed with fresh seeds: too few\n" in out and out.endswith("table    a/sweep.json\n")
    with SweepScreen(SWEEP) as screen:
        screen.show(SweepResult(Path("a"), TRIALS[1:], None, None))
    assert capsys.readouterr().out.endswith("no trial was trained to the end, so there is no best one\n")


def test_a_terminal_shows_the_table_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("tfmnist.sweeps.screen.time.monotonic", lambda: now[0])
    screen = SweepScreen(SWEEP)
    screen.console = screen.live.console = Console(file=io.StringIO(), force_terminal=True, width=80)
    screen.is_live = True
    with screen:
        screen.show(SweepProgress(TRIALS[2:], 4, 2))
        now[0] = 40.0
        screen.show(SweepProgress(TRIALS, 4, 2))
    file = screen.console.file
    assert isinstance(file, io.StringIO)
    assert "rates: 2 of 4 trials, 1 running, 2 workers, about 40 s left" in file.getvalue()
    assert "97.12%       3      2.0  learning_rate 0.1, dropout 0.5" in file.getvalue()


def test_nothing_is_printed_if_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    with SweepScreen(SWEEP, quiet=True) as screen:
        screen.show(SweepProgress(TRIALS, 4, 2, TRIALS[0]))
        screen.show(SweepResult(Path("a"), TRIALS, TRIALS[0], None))
    assert capfd.readouterr() == ("", "")


def test_lines_of_a_study() -> None:
    assert show_seed(STUDY.seeds[1]) == "seed 5: test 98.00%, validation 96.00%, 2.0 s"
    assert show_study(STUDY) == "test accuracy 97.50% ± 0.71 (mean ± sd of 2 seeds)"
