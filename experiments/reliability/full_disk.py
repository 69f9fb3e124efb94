"""Fills the disk at every stage of a run and of a sweep, makes it read-only, and deletes a run's folder midway.

    python experiments/reliability/full_disk.py [--moments 20] [--sweeps 10]

Each moment is a small disk in memory on which a command runs until it is full; then the disk grows, and the command is
resumed. The result must be that of a command with room enough. Linux only, in a mount namespace of its own.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from commands import start
from PIL import Image

import tfmnist as library

sys.path.append(str(Path(__file__).parents[1]))
from tables import markdown

RUN = ["train", "mlp", "--model.hidden", "200", "--data.per_class", "60", "--epochs", "4", "--train.compile", "graph"]
SWEEP = """recipe = "mlp"
[fixed]
train.epochs = 3
train.compile = "graph"
data.per_class = 60
data.validation = 500
[space]
model.hidden = { choice = [[100], [150], [200]] }
optimizer.learning_rate = { choice = [0.001, 0.003] }
[search]
sampler = "grid"
keep = "all"
confirm = 0
"""


def tfmnist(*words: str) -> tuple[int, str]:
    """Runs a command; returns its exit code and the last line of its standard error."""
    process = start(words)
    errors = process.communicate(timeout=300)[1]
    lines = errors.strip().splitlines()
    return process.returncode, "traceback" if "Traceback" in errors else lines[-1] if lines else ""


@contextlib.contextmanager
def disk(kilobytes: int) -> Iterator[Path]:
    """A disk of a given size."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def remount(folder: Path, *options: str) -> None:
    subprocess.run(["mount", "-o", ",".join(("remount", *options)), str(folder)], check=True)


def kilobytes(folder: Path) -> int:
    return sum(path.stat().st_blocks for path in folder.rglob("*")) // 2


def result_of(run: Path) -> Any:
    values = json.loads((run / "result.json").read_text())
    return values["weights_sha256"], values["test_accuracy"], values["test_loss"]


def table_of(sweep: Path) -> Any:
    trials = json.loads((sweep / "sweep.json").read_text())["trials"]
    return [(trial["number"], trial["state"], trial["result"], trial["epochs"]) for trial in trials]


def fill_runs(moments: int) -> list[Sequence[str]]:
    """Fills the disk at moments of a run; returns a row for each."""
    rows: list[Sequence[str]] = []
    with disk(100_000) as room:
        assert tfmnist(*RUN, "--run-dir", str(room / "run"))[0] == 0
        expected, whole = result_of(room / "run"), kilobytes(room)
    for moment in range(moments):
        size = 8 + whole * moment // moments
        with disk(size) as room:
            run = room / "run"
            code, line = tfmnist(*RUN, "--run-dir", str(run))
            remount(room, "size=100000k")
            again = ["train", "--resume", str(run)] if (run / "recipe.toml").exists() else [*RUN, "--run-dir", str(run)]
            resumed, problem = tfmnist(*again)
            same = resumed == 0 and result_of(run) == expected
            named = code == 0 or ((str(run) in line and "resume" in line) or "cannot make the run folder" in line)
            rows.append(
                (
                    f"{size} KB",
                    str(code),
                    "same" if same else f"NOT THE SAME {problem}",
                    line if named else f"NOT NAMED {line}",
                )
            )
            print(*rows[-1], sep="\t", flush=True)
    return rows


def fill_sweeps(moments: int) -> list[Sequence[str]]:
    """Fills the disk at moments of a sweep; returns a row for each."""
    rows: list[Sequence[str]] = []
    with disk(200_000) as room:
        (room / "s.toml").write_text(SWEEP)
        command = ["sweep", str(room / "s.toml"), "--run-dir", str(room / "sweep")]
        assert tfmnist(*command)[0] == 0
        expected, whole = table_of(room / "sweep"), kilobytes(room)
    for moment in range(moments):
        size = 24 + whole * moment // moments
        with disk(size) as room:
            (room / "s.toml").write_text(SWEEP)
            command = ["sweep", str(room / "s.toml"), "--run-dir", str(room / "sweep")]
            code, line = tfmnist(*command)
            remount(room, "size=200000k")
            resumed, problem = tfmnist(*command)
            same = resumed == 0 and table_of(room / "sweep") == expected
            fine = same and code in (0, 75)
            rows.append((f"{size} KB", str(code), "same" if fine else f"NOT THE SAME {problem}", line))
            print(*rows[-1], sep="\t", flush=True)
    return rows


def read_only() -> list[Sequence[str]]:
    """Uses a finished and an unfinished run on a read-only disk."""
    rows: list[Sequence[str]] = []
    with disk(100_000) as room, tempfile.TemporaryDirectory() as elsewhere:
        run, short = room / "run", room / "short"
        assert tfmnist(*RUN, "--run-dir", str(run))[0] == 0
        assert tfmnist(*RUN, "--run-dir", str(short), "--epochs", "1")[0] == 0
        (short / "result.json").unlink()
        picture = room / "digit.png"
        Image.fromarray(255 - library.load("mnist").test.images[0]).resize((140, 140)).save(picture)
        remount(room, "ro")
        for words, expected in (
            (["evaluate", str(run)], 0),
            (["predict", str(run), str(picture)], 0),
            (["export", str(run), f"{elsewhere}/model"], 0),
            (["report", str(run), "--out", f"{elsewhere}/report"], 0),
            (["info", str(run)], 0),
            (["report", str(run)], 2),
            (["export", str(run), str(room / "model")], 2),
            (["train", "--resume", str(short)], 1),
            ([*RUN, "--run-dir", str(room / "new")], 2),
        ):
            code, line = tfmnist(*words)
            fine = code == expected and line != "traceback" and (not code or "read-only" in line.lower())
            rows.append((" ".join(words[:1]), str(code), "as expected" if fine else f"NOT {expected}", line))
            print(*rows[-1], sep="\t", flush=True)
    return rows


def deleted() -> list[Sequence[str]]:
    """Deletes a run's folder while it trains."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = [*RUN, "--run-dir", str(run), "--epochs", "2000"]
        process = start(words)
        while not list(run.glob("checkpoints/*")):
            time.sleep(0.05)
        os.rename(run, run.with_name("moved"))
        errors = process.communicate(timeout=120)[1]
    row = ("train", str(process.returncode), "as expected" if "is gone" in errors else "NOT NAMED", errors.strip())
    print(*row, sep="\t", flush=True)
    return [row]


def main() -> None:
    if "TFMNIST_OWN_MOUNTS" not in os.environ:
        os.environ["TFMNIST_OWN_MOUNTS"] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--map-root-user", sys.executable, *sys.argv])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=20, help="of a run")
    parser.add_argument("--sweeps", type=int, default=10, help="moments of a sweep")
    given = parser.parse_args()
    tables = {
        "a run on a full disk": fill_runs(given.moments),
        "a sweep on a full disk": fill_sweeps(given.sweeps),
        "a read-only disk": read_only(),
        "a folder deleted midway": deleted(),
    }
    for title, rows in tables.items():
        counts = Counter((code, outcome) for _, code, outcome, _ in rows)
        cells = [[code, outcome, str(count)] for (code, outcome), count in sorted(counts.items())]
        print(f"\n{title}\n\n{markdown(['exit code', 'outcome', 'times'], cells)}")


if __name__ == "__main__":
    main()
