"""A run's folder: what can be told of it without TensorFlow."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

import tfmnist
from tfmnist.errors import BusyError, InputError
from tfmnist.recipe import Recipe, is_whole
from tfmnist.runs import folder
from tfmnist.runs.folder import (
    check_new_folder,
    follow_link,
    is_trained,
    locked,
    make_folder,
    newest_unfinished,
)
from tfmnist.runs.train import resume, run_events
from tfmnist.system.files import write_whole
from tfmnist.system.locks import lock


def test_a_run_is_trained_between_its_last_epoch_and_its_judgement(small: Path, tmp_path: Path) -> None:
    keys = {"data.source": str(small), "data.validation": 100, "model.hidden": [8], "train.compile": "graph"}
    events = run_events(Recipe().replace({**keys, "train.epochs": 2}), tmp_path / "run", evaluate_test=False)
    found = [(type(event).__name__, is_trained(tmp_path / "run")) for event in events]
    assert found == [("Started", False), ("Epoch", False), ("Epoch", True), ("Trained", True)]
    *_, newest = sorted((tmp_path / "run" / "checkpoints").iterdir())
    resume(tmp_path / "run")
    assert not is_trained(tmp_path / "run") and not is_trained(tmp_path)
    (tmp_path / "run" / "result.json").unlink()
    newest.write_bytes(b"damaged")
    assert not is_trained(tmp_path / "run")


def test_patience_that_has_run_out_ends_a_training(small: Path, tmp_path: Path) -> None:
    keys = {"data.source": str(small), "data.validation": 100, "model.hidden": [8], "train.compile": "graph"}
    keys |= {"train.epochs": 50, "train.patience": 1, "optimizer.kind": "sgd", "optimizer.learning_rate": 1e-30}
    *_, last = run_events(Recipe().replace(keys), tmp_path / "run", evaluate_test=False)
    assert is_trained(tmp_path / "run") and getattr(last, "epochs", 50) < 50


def test_what_a_killed_process_left_half_written_is_deleted(tmp_path: Path) -> None:
    ours = [".recipe.toml-ab12_xyz", "checkpoints/.step-00000010.npz-q1w2e3r4", "model/.writing-00000000/assets/a"]
    others = [".recipe.toml-mine", ".notes-ab12_xyz", "recipe.toml", ".report.html-ab12_xyz", "model/1/a", ".env"]
    for name in (*ours, *others):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("half")
    with locked(tmp_path):
        pass
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(others) and not (tmp_path / "model" / ".writing-00000000").exists()


def test_names_of_files_that_are_being_written_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.unlink", lambda *_, **__: None)  # as when the process is killed
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("killed")))
    for name in ("recipe.toml", "metrics.jsonl", "result.json", "checkpoints/step-00000010.npz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        with pytest.raises(OSError, match="killed"):
            write_whole(tmp_path / name, "half")
    monkeypatch.undo()
    assert len([path for path in tmp_path.rglob(".*") if path.is_file()]) == 4
    with locked(tmp_path):
        pass
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# The lock

HOLD = """
import sys
from pathlib import Path
from tfmnist.runs.folder import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""
TAKE_TURNS = """
import os, sys
from pathlib import Path
from tfmnist.errors import BusyError
from tfmnist.runs.folder import locked
path, turns = Path(sys.argv[1]), 0
while turns < 200:
    try:
        with locked(path):
            (path / "mine").open("x").close()  # fails if another process is here
            (path / "mine").unlink()
            turns += 1
    except BusyError:
        pass
"""


def start(code: str, path: Path) -> "subprocess.Popen[str]":
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code, str(path)], **pipes)


def test_a_folder_has_one_process_until_that_ends_or_is_killed(tmp_path: Path) -> None:
    for end in (None, signal.SIGKILL):
        with start(HOLD, tmp_path) as other:
            assert other.stdout and other.stdout.readline() == "locked\n"
            with pytest.raises(BusyError, match=f"{tmp_path}: another process is training there; "), locked(tmp_path):
                pass
            check_new_folder(tmp_path)  # the lock is no content
            if end:
                other.send_signal(end)
            other.communicate()
        assert os.listdir(tmp_path) == ([".lock"] if end else [])
        with locked(tmp_path):
            check_new_folder(tmp_path)
        assert os.listdir(tmp_path) == []


def test_processes_that_compete_for_a_folder_take_turns(tmp_path: Path) -> None:
    processes = [start(TAKE_TURNS, tmp_path) for _ in range(3)]
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0, 0, 0] and os.listdir(tmp_path) == []


def test_a_lock_file_that_its_owner_has_just_deleted_excludes_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: list[IO[Any]] = []

    def late_lock(file: IO[Any], *, wait: bool) -> bool:
        if not files:  # between `open` and `lock`
            (tmp_path / ".lock").unlink()
        files.append(file)
        return lock(file, wait=wait)

    monkeypatch.setattr(folder, "lock", late_lock)
    with locked(tmp_path):
        assert len(files) == 2 and files[0].closed
        with pytest.raises(BusyError), locked(tmp_path):
            pass


# Names


def test_the_default_folder_and_its_links(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quick = recipe.replace({"train.epochs": 1, "export.report": False, "export.model": False})
    for run in (tfmnist.run(quick), tfmnist.run(quick)):
        assert run.path.parent == Path("runs") and run.path.name.startswith("mlp-")
    assert len([path for path in (tmp_path / "runs").iterdir() if not path.is_symlink()]) == 2
    run = tfmnist.run(quick)
    latest, newest = Path("runs/latest"), Path("runs/newest")
    assert follow_link(latest) == follow_link(newest) == run.path == follow_link(run.path)
    assert newest_unfinished(latest) is None

    begun = run_events(quick)
    next(begun)
    del begun  # which ends it, as a signal would
    assert follow_link(latest) == run.path != follow_link(newest)
    assert newest_unfinished("runs/latest") == newest and newest_unfinished(run.path) is None
    monkeypatch.chdir("runs")
    assert newest_unfinished("latest") == Path("newest")
    tfmnist.resume("newest")
    monkeypatch.chdir(tmp_path)
    assert follow_link(latest) == follow_link(newest) != run.path
    tfmnist.run(quick, "runs/mine")
    assert follow_link(latest) == follow_link(newest) != Path("runs/mine"), "only default folders have links"
    with pytest.raises(tfmnist.InputError, match="holds no exported model"):
        tfmnist.load_exported(run.path)
    assert tfmnist.export(run.path, tmp_path / "later") == tmp_path / "later/1"
    assert tfmnist.load_exported(tmp_path / "later").card["result"]["weights_sha256"] == run.result["weights_sha256"]


def test_newest_moves_on_where_links_cannot_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(old: Path, new: Path) -> None:
        if os.path.lexists(new):
            raise PermissionError(13, "Access is denied")
        os.rename(old, new)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "replace", replace)
    for _ in range(2):
        path = make_folder("mlp", None)
        assert Path("runs/newest").resolve() == path.resolve()


def test_a_new_or_empty_folder_is_fine(tmp_path: Path) -> None:
    check_new_folder(None)
    check_new_folder(tmp_path)
    check_new_folder(str(tmp_path / "none" / "deeper"))
    assert os.listdir(tmp_path) == []


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(InputError) as caught:
            check_new_folder(path)
        assert str(caught.value).startswith(f"{path}: ") and "--resume" in str(caught.value)


# What a killed process leaves

KILLED = """
import os, signal, sys
from pathlib import Path
from tfmnist.recipe import Recipe
from tfmnist.runs.folder import check_new_folder, locked, make_folder
from tfmnist.runs.result import write_history
from tfmnist.system.files import write_whole
from tfmnist.system.seals import seal

path, left, text = Path(sys.argv[1]), int(sys.argv[2]), seal(Recipe.load("mlp").to_toml())

def kill(event, arguments):
    global left
    writes = event in ("os.mkdir", "os.rename", "os.remove") or (event == "open" and arguments[2] & os.O_CREAT)
    if writes and str(arguments[0]).startswith(str(path)):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
check_new_folder(path)
make_folder("mlp", path)
with locked(path):  # as a run begins
    check_new_folder(path, text)
    write_whole(path / "recipe.toml", text)
    write_history(path, [])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
def test_a_run_killed_at_any_write_is_started_again_or_resumed(tmp_path: Path) -> None:
    ends: list[str] = []
    while "done" not in ends:
        path = tmp_path / str(len(ends))
        words = [sys.executable, "-c", KILLED, str(path), str(len(ends) + 1)]
        code = subprocess.run(words, check=False).returncode
        if code == 0:
            ends.append("done")
        elif is_whole(path / "recipe.toml"):
            assert code == -signal.SIGKILL and Recipe.load_run(path).name == "mlp"
            ends.append("resumed")
        else:
            assert code == -signal.SIGKILL
            assert subprocess.run([*words[:-1], "0"], check=False).returncode == 0 and is_whole(path / "recipe.toml")
            ends.append("again")
    assert ends.count("again") >= 3 and ends.count("resumed") >= 2


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_recipe_cut_short_is_written_again(share: float, recipe: Recipe, tmp_path: Path) -> None:
    quick = recipe.replace({"train.epochs": 1, "export.report": False, "export.model": False})
    whole = run_whole(quick, tmp_path / "whole")
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "recipe.toml").write_bytes(whole[: int(share * len(whole))])
    (tmp_path / "cut" / ".metrics.jsonl-ab12cd34").touch()
    with pytest.raises(InputError, match=r"recipe\.toml: (is not a run's whole recipe; start|changed or cut short)"):
        resume(tmp_path / "cut")
    assert run_whole(quick, tmp_path / "cut") == whole
    assert not (tmp_path / "cut" / ".metrics.jsonl-ab12cd34").exists()


def run_whole(recipe: Recipe, path: Path) -> bytes:
    """Runs a recipe and returns the recipe's file."""
    assert tfmnist.run(recipe, path, progress=False).result
    return (path / "recipe.toml").read_bytes()


@pytest.mark.parametrize("name", ["recipe.toml", "notes.txt", ".env", ".recipe.toml-mine"])
def test_a_file_of_the_user_is_neither_overwritten_nor_deleted(name: str, recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / name).write_text('extends = "mlp"\n')
    with pytest.raises(InputError, match="already exists and is not empty"):
        tfmnist.run(recipe, tmp_path, progress=False)
    assert (tmp_path / name).read_text() == 'extends = "mlp"\n' and os.listdir(tmp_path) == [name]
