"""Where TensorFlow cannot compute, every entry says so in one line at once: it neither hangs nor crashes."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfmnist
from tfmnist import Split
from tfmnist.recipe import Train

SPLIT = Split(np.eye(20, 16, dtype=np.uint8).reshape(20, 4, 4), np.arange(20) % 2)
CALLS = ["run", "resume", "fit", "Trainer", "evaluate", "evaluate_exported", "export", "predict", "pictures"]


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Callable[[], Any]]:
    """What a user calls, by name."""
    folder, model = tmp_path_factory.mktemp("calls"), tfmnist.MLP((4, 4), [3], 2, seed=0)
    exported = tfmnist.load_exported(tfmnist.export(model, folder / "model"))
    return {
        "run": lambda: tfmnist.run("mlp", folder / "run"),
        "resume": lambda: tfmnist.resume(folder / "run"),
        "fit": lambda: tfmnist.fit(model, SPLIT, epochs=1, compile="eager", progress=False),
        "Trainer": lambda: tfmnist.Trainer(model, None, SPLIT, None, Train()),
        "evaluate": lambda: tfmnist.evaluate(model, SPLIT),
        "evaluate_exported": lambda: tfmnist.evaluate(exported, SPLIT),
        "export": lambda: tfmnist.export(model, folder / "model"),
        "predict": lambda: exported.predict(SPLIT.images),
        "pictures": lambda: exported.predict_pictures([b""]),
        "MLP": lambda: tfmnist.MLP((4, 4), [3], 2, seed=0),
        "Adam": lambda: tfmnist.Adam(model.parameters),
    }


def graph() -> AbstractContextManager[Any]:
    return tf.Graph().as_default()


def complaint(call: Callable[[], Any], where: Callable[[], AbstractContextManager[Any]]) -> str:
    """Calls in a context, and returns the message of the `InputError`."""
    with where(), pytest.raises(tfmnist.InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", [*CALLS, "MLP", "Adam"])
def test_a_graph_is_refused(name: str, calls: dict[str, Callable[[], Any]]) -> None:
    assert "graph mode: expected eager execution; call this outside" in complaint(calls[name], graph)


@pytest.mark.parametrize("name", [*CALLS, "MLP", "Adam"])
def test_a_function_of_tensorflow_is_refused(name: str, calls: dict[str, Callable[[], Any]]) -> None:
    function = tf.function(lambda: calls[name]() and 1, autograph=False)
    with pytest.raises(tfmnist.InputError, match="graph mode: expected eager execution"):
        function()


@pytest.mark.parametrize("name", CALLS)
def test_the_scope_of_a_strategy_is_refused(name: str, calls: dict[str, Callable[[], Any]]) -> None:
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    said = complaint(calls[name], strategy.scope)
    assert said == "the scope of a MirroredStrategy is open: expected none; call this outside strategy.scope()."


def test_a_network_made_in_a_scope_is_not_trained_outside() -> None:
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = tfmnist.MLP((4, 4), [3], 2, seed=0)
    with pytest.raises(tfmnist.InputError, match=r"mlp has mirrored variables: expected plain ones; make it outside"):
        tfmnist.fit(model, SPLIT, epochs=1)
    with pytest.raises(tfmnist.InputError, match="mirrored variables"):
        tfmnist.export(model, "nowhere")


FORK = """
import os, sys
import numpy as np
import tensorflow as tf
import tfmnist
from tfmnist.nn.runtime import check_runtime

split = tfmnist.Split(np.eye(20, 16, dtype=np.uint8).reshape(20, 4, 4), np.arange(20) % 2)
if sys.argv[1] == "computed":
    model = tfmnist.MLP((4, 4), [3], 2, seed=0)
for call in (
    lambda: tfmnist.MLP((4, 4), [3], 2, seed=0).parameters[0].numpy(),
    lambda: tfmnist.fit(model, split, epochs=1, compile="eager", progress=False),
    lambda: tfmnist.evaluate(model, split),
    lambda: tfmnist.run("mlp", progress=False),
)[: 4 if sys.argv[1] == "computed" else 1]:
    child = os.fork()
    if not child:
        try:
            call()
            print("computes")
        except tfmnist.InputError as error:
            print(str(error).replace(str(os.getpid()), "N"))
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_after_the_first_computation_says_so_instead_of_hanging(tmp_path: Path) -> None:
    def said(when: str) -> list[str]:
        command = [sys.executable, "-c", FORK, when]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout.splitlines()

    assert said("imported") == ["computes"]
    lines = said("computed")
    assert len(lines) == 4 and len(set(lines)) == 1
    assert lines[0].startswith("process N is a fork of one in which TensorFlow had computed: ")
    assert "'spawn'" in lines[0]
