"""What a training shows: a line per epoch in a file, a live line in a terminal, which ends clean; or nothing."""

import os
import pty
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from unittest.mock import patch

import numpy as np
import pytest

from tfmnist.data.split import Split
from tfmnist.nn.models import MLP
from tfmnist.training.events import Epoch, Progress
from tfmnist.training.loop import fit
from tfmnist.training.screen import TrainingScreen

LINE = re.compile(r"Epoch (\d+)/(\d+) \| Batch (\d+)/(\d+) \| Loss: (\d+\.\d{4}|nan)")


def lines_in(text: str) -> list[tuple[int, int, int, int, float]]:
    """Epoch, epochs, batch, batches and loss of each line of progress; all must be in the form."""
    matches = [LINE.fullmatch(line) for line in text.splitlines() if line.startswith("Epoch ")]
    assert all(matches), text
    return [(*(int(n) for n in match.groups()[:4]), float(match[5])) for match in matches if match]  # type: ignore[misc]


def epoch_of(losses: list[float], number: int, blocks: list[int]) -> list[Progress | Epoch]:
    """The events of an epoch whose batches have these losses, a `Progress` after each of some batches."""
    events: list[Progress | Epoch] = [
        Progress(number, step, len(losses), sum(losses[:step]) / step, 0.5, 100.0) for step in blocks
    ]
    mean = sum(losses) / len(losses)
    return [*events, Epoch(number, number * len(losses), mean, 0.5, None, None, 0.001, 1.0, 100.0)]


def train(epochs: int, progress: bool | int = True) -> None:
    """Trains in two blocks per epoch."""
    split = Split(np.random.default_rng(0).integers(0, 256, [40, 4, 4], np.uint8), np.arange(40) % 3)
    fit(MLP((4, 4), [2], 3), split, epochs=epochs, batch_size=10, block=2, compile="eager", progress=progress)


@contextmanager
def terminal() -> Iterator[Callable[[], str]]:
    """Makes standard output a terminal; the function closes it and returns all that was written to it."""
    leader, follower = pty.openpty()
    output = os.fdopen(follower, "w", encoding="utf-8")
    received: list[bytes] = []

    def read() -> None:
        with suppress(OSError):  # the other end is closed
            while data := os.read(leader, 4096):
                received.append(data)

    reader = threading.Thread(target=read)

    def written() -> str:
        output.close()
        reader.join()
        return b"".join(received).decode()

    reader.start()
    try:
        with patch.object(sys, "stdout", output), patch.dict(os.environ, {"TERM": "xterm"}):
            yield written
    finally:
        written()
        os.close(leader)


def visible(text: str) -> list[str]:
    """The lines that are left in the terminal; knows the few control sequences that a live line needs."""
    lines, row = [""], 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\n|\r|[^\x1b\r\n]+", text):
        if part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif part == "\x1b[1A":
            row -= 1
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part == "\r" or part[-1] in "mhl":
            pass
        else:
            assert part[0] != "\x1b", part
            lines[row] += part
    return lines


@pytest.mark.parametrize(
    ("progress", "blocks", "batches"),
    [
        (2, [2, 4], [2, 4, 6]),
        (2, [1, 2, 3, 4, 5], [2, 4, 6]),
        (4, [4], [4]),
        (6, [3], [6]),
        (7, [5], []),
        (0, [2, 4], []),
    ],
)
def test_a_line_has_the_mean_loss_since_the_line_before(
    progress: int, blocks: list[int], batches: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    losses = [[9.0, 5.0, 4.0, 2.0, 1.5, 0.25], [0.5, 0.25, 0.125, 2.0, 1.0, 3.0]]
    with TrainingScreen() as screen:
        screen.begin(epochs=2, examples=60, batch_size=10, progress=progress)
        for number, values in enumerate(losses, start=1):
            for event in epoch_of(values, number, blocks):
                screen.show(event)
    lines = lines_in(capsys.readouterr().out)
    assert [line[:4] for line in lines] == [(number, 2, batch, 6) for number in (1, 2) for batch in batches]
    for number, _, batch, _, loss in lines:
        since = max([0, *(end for end in batches if end < batch)])
        assert loss == pytest.approx(np.mean(losses[number - 1][since:batch]), abs=5e-5)


def test_a_file_gets_a_line_per_epoch(capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        train(epochs=3)
    out, errors = capfd.readouterr()
    assert errors == "" and "\x1b" not in out and "\r" not in out
    lines = [line.split() for line in out.splitlines()]
    assert [words[0] for words in lines] == ["epoch", "1/3", "2/3", "3/3"] * 2
    assert {len(words) for words in lines if words[0] != "epoch"} == {8}


def test_a_number_adds_a_line_after_so_many_batches(capfd: pytest.CaptureFixture[str]) -> None:
    train(epochs=2, progress=3)
    assert [line[:4] for line in lines_in(capfd.readouterr().out)] == [(1, 2, 3, 4), (2, 2, 3, 4)]


@pytest.mark.parametrize("progress", [False, 0])
def test_silence(progress: bool | int, capfd: pytest.CaptureFixture[str]) -> None:
    with terminal() as written:
        train(epochs=2, progress=progress)
        assert written() == "" and capfd.readouterr() == ("", "")


def test_a_terminal_gets_a_live_line_which_is_gone_at_the_end() -> None:
    with terminal() as written:
        train(epochs=2)
        print("and on")
        text = written()
    parts = ("compiling", "  1/2 \x1b", "2/4  loss", "    1/2   ", "  2/2 \x1b", "    2/2   ")
    assert [text.index(part) for part in parts] == sorted(text.index(part) for part in parts)
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is visible
    head, *epochs, after, rest = visible(text)
    assert head.split()[0] == "epoch" and [line.split()[0] for line in epochs] == ["1/2", "2/2"]
    assert after == "and on" and rest == ""


def test_an_interrupted_training_leaves_the_terminal_clean() -> None:
    with terminal() as written:
        stdout = sys.stdout
        with pytest.raises(KeyboardInterrupt), TrainingScreen() as screen:
            screen.begin(epochs=2, examples=60, batch_size=10)
            screen.show(Progress(1, 2, 6, 0.5, 0.5, 100.0))
            assert sys.stdout is not stdout
            raise KeyboardInterrupt
        assert sys.stdout is stdout
        text = written()
    assert "2/6  loss 0.5000" in text and "".join(visible(text)) == ""
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_trainings_in_threads_print_lines_above_the_live_line() -> None:
    with terminal() as written:
        with TrainingScreen() as screen:
            screen.begin(epochs=9, examples=60, batch_size=10)
            screen.show(Progress(1, 2, 6, 0.5, 0.5, 100.0))
            threads = [threading.Thread(target=train, args=(2,)) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        text = written()
    assert "1/9" in text and text.count("compiling") == 1
    assert sorted(line.split()[0] for line in visible(text) if line) == sorted(["epoch", "1/2", "2/2"] * 2)
