"""Compiled code: reused by the same recipe, never trusted if it is damaged or somebody else's."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tfmnist.recipe import Recipe
from tfmnist.training import compile_cache as module
from tfmnist.training.compile_cache import compiled_code

MLP = Recipe.load("mlp")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no flags of the user's."""
    monkeypatch.setenv("TFMNIST_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
    return tmp_path / "cache" / "compiled"


def compile_once(content: bytes | None, recipe: Recipe = MLP) -> bytes | None:
    """Does as TensorFlow does: reads its file where there is one, else writes it; returns what it read."""
    with compiled_code(recipe):
        flag = os.environ["TF_XLA_FLAGS"].split()[0]
        file = Path(
            flag.removeprefix("--tf_xla_persistent_cache_directory="), "xla_compile_cache__1__2__XLA_CPU_JIT.pb"
        )
        reused = file.read_bytes() if file.exists() else None
        if reused is None and content is not None:
            file.write_bytes(content)
    assert "TF_XLA_FLAGS" not in os.environ
    assert not file.parent.exists()
    return reused


def test_the_next_run_finds_it() -> None:
    assert compile_once(b"code") is None
    assert compile_once(None) == b"code"


@pytest.mark.parametrize(
    ("changes", "reused"),
    [
        ({"train.seed": 5, "train.progress": 100, "train.tensorboard": True, "export.report": False}, True),
        ({"train.log_steps": 5}, False),
        ({"model.hidden": [64]}, False),
        ({"train.batch_size": 32}, False),
        ({"train.threads": 1}, False),
        ({"optimizer.learning_rate": 0.01}, False),
    ],
)
def test_it_belongs_to_a_recipe(changes: dict[str, Any], reused: bool) -> None:
    compile_once(b"code")
    assert (compile_once(None, MLP.replace(changes)) is not None) == reused


def test_what_is_damaged_is_not_used(cache: Path) -> None:
    compile_once(b"code")
    (file,) = cache.glob("*/*.npy")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert compile_once(b"new") is None
    assert compile_once(None) == b"new"


def test_what_others_may_have_written_is_not_used(cache: Path) -> None:
    compile_once(b"code")
    cache.chmod(0o777)
    with compiled_code(MLP):
        assert "TF_XLA_FLAGS" not in os.environ


def test_flags_of_the_user_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_enable_lazy_compilation=false")
    with compiled_code(MLP):
        assert os.environ["TF_XLA_FLAGS"] == "--tf_xla_enable_lazy_compilation=false"
    assert os.environ["TF_XLA_FLAGS"] == "--tf_xla_enable_lazy_compilation=false"


def test_a_cache_that_cannot_be_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TFMNIST_CACHE", str(tmp_path / "file"))
    with compiled_code(MLP):
        assert "TF_XLA_FLAGS" not in os.environ
    monkeypatch.setattr(module, "_key", lambda _: "")  # a system that does not say what processor it has
    monkeypatch.setenv("TFMNIST_CACHE", str(tmp_path / "cache"))
    with compiled_code(MLP):
        assert "TF_XLA_FLAGS" not in os.environ


def test_a_run_that_fails_leaves_nothing_behind(cache: Path) -> None:
    with pytest.raises(KeyboardInterrupt), compiled_code(MLP):
        assert len(list(cache.glob(".process-*"))) == 1
        raise KeyboardInterrupt
    assert not list(cache.glob(".process-*"))
    assert "TF_XLA_FLAGS" not in os.environ


HOLD = """
import os, sys
from tfmnist.recipe import Recipe
from tfmnist.training.compile_cache import compiled_code
with compiled_code(Recipe.load("mlp")):
    print(os.environ["TF_XLA_FLAGS"], flush=True)
    sys.stdin.read()
"""


def test_the_folder_of_a_killed_process_is_deleted_and_that_of_a_live_one_is_not(cache: Path) -> None:
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    dead, alive = (subprocess.Popen([sys.executable, "-c", HOLD], **pipes) for _ in range(2))
    with dead, alive:
        flags = [process.stdout.readline() if process.stdout else "" for process in (dead, alive)]
        dead.kill()
        dead.wait()
        assert len(list(cache.glob(".process-*"))) == 2
        with compiled_code(MLP):
            left = [path for path in cache.glob(".process-*") if str(path) not in os.environ["TF_XLA_FLAGS"]]
        assert len(left) == 1 and str(left[0]) in flags[1]
        alive.communicate()
    assert not list(cache.glob(".process-*"))
