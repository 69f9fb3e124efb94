"""Transfer: which weights are taken over, which are new, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfmnist.errors import InputError
from tfmnist.nn.layers import Dense
from tfmnist.nn.models import CNN, MLP, Network, as_network
from tfmnist.runs.transfer import start_from
from tfmnist.system.files import write_npz

NAMES = ["ant", "bee", "cat"]
DIGEST = "ab" * 32


def mlp(**options: Any) -> MLP:
    return MLP((6, 5), **{"hidden": [8, 4], "classes": 3, "batch_norm": True, "seed": 1, **options})


def write_run(path: Path, model: Network, names: list[str] = NAMES, **changed: Any) -> dict[str, Any]:
    """Leaves what a finished run leaves of its weights, and returns them: other than those of any seed."""
    path.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    own = {name: variable.numpy() for name, variable in model.named_variables().items()}
    weights = {name: random.normal(size=array.shape).astype(np.float32) for name, array in own.items()}
    write_npz(path / "weights.npz", weights)
    write_result(path, names, **changed)
    return weights


def write_result(path: Path, names: list[str], **changed: Any) -> None:
    data = {"source": "mnist", "sha256": "da", "train": 5, "validation": 0, "test": 2, "classes": len(names)}
    data |= {"class_names": names, "image_shape": [6, 5]}
    values = dict.fromkeys(("test_accuracy", "test_loss", "epochs", "steps", "parameters", "seed"), 1)
    values |= {"name": "tiny", "test_accuracy_ci95": [0, 1], "validation_accuracy": None, "versions": {}}
    values |= {"weights_sha256": DIGEST, "data": data, **changed}
    (path / "result.json").write_text(json.dumps(values), encoding="utf-8")


def taken(model: Network, weights: dict[str, Any]) -> list[str]:
    """The names of the variables that have the weights of the run, bit for bit."""
    return [name for name, v in model.named_variables().items() if np.array_equal(v.numpy(), weights.get(name, np.nan))]


@pytest.mark.parametrize("make", [mlp, lambda: CNN((8, 8), ["conv 2 3x3", "global max"], 3)], ids=["mlp", "cnn"])
def test_for_the_same_classes_everything_is_taken_over(tmp_path: Path, make: Any) -> None:
    model = make()
    weights = write_run(tmp_path / "run", model)
    assert start_from(model, tuple(NAMES), tmp_path / "run") == DIGEST
    assert taken(model, weights) == list(model.named_variables())


@pytest.mark.parametrize("names", [["ant", "cat", "bee"], ["ant", "bee", "dog"], ["ant", "bee"], [*NAMES, "dog"]])
def test_for_other_classes_the_last_layer_is_new(tmp_path: Path, names: list[str]) -> None:
    weights = write_run(tmp_path / "run", mlp())
    model, fresh = mlp(classes=len(names)), mlp(classes=len(names))
    assert start_from(model, names, str(tmp_path / "run"), DIGEST) == DIGEST
    assert taken(model, weights) == [name for name in model.named_variables() if not name.startswith("logits/")]
    for name in ("logits/kernel", "logits/bias"):
        assert np.array_equal(model.named_variables()[name], fresh.named_variables()[name])


def test_frozen_layers_are_taken_over_too(tmp_path: Path) -> None:
    model = mlp()
    model.freeze(["dense_*", "batch_norm_1"])
    weights = write_run(tmp_path / "run", model)
    start_from(model, NAMES, tmp_path / "run")
    assert taken(model, weights) == list(model.named_variables())


def test_other_weights_than_those_asked_for_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "run", mlp())
    model = mlp()
    before = model.sha256()
    with pytest.raises(InputError) as caught:
        start_from(model, NAMES, tmp_path / "run", "cd" * 32)
    message = str(caught.value)
    assert f"{tmp_path / 'run'}: its weights are {DIGEST[:12]}..., recipe key 'model.init_sha256' says cdcd" in message
    assert "clear model.init_sha256" in message and message.isprintable()
    assert model.sha256() == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hidden": [8, 5]}, "its dense_2/kernel is [8, 4], the recipe's [8, 5]"),
        ({"hidden": [9, 4]}, "its dense_1/kernel is [30, 8], the recipe's [30, 9]"),
        ({"hidden": [8, 4, 4]}, "its dense_3/kernel is missing, the recipe's [4, 4]"),
        ({"batch_norm": False}, "its dense_1/bias is missing, the recipe's [8]"),
        ({"classes": 4}, "its logits/kernel is [4, 3], the recipe's [4, 4]"),  # under the same names
    ],
)
def test_another_network_is_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    write_run(tmp_path / "run", mlp())
    with pytest.raises(InputError) as caught:
        start_from(mlp(**options), NAMES, tmp_path / "run")
    message = str(caught.value)
    assert words in message and message.isprintable()
    assert "copy that run's [model] section to the recipe, or leave RECIPE out" in message


def test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "run", mlp())
    with pytest.raises(InputError, match=r"its dense_1/kernel is \[30, 8\], the recipe's \[49, 8\]"):
        start_from(MLP((7, 7), [8, 4], 3, batch_norm=True), NAMES, tmp_path / "run")


@pytest.mark.parametrize("damage", ["no folder", "no result", "no weights", "damaged", "old", "no JSON", "a list"])
def test_what_is_no_finished_run_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "run"
    write_run(path, mlp())
    match damage:
        case "no folder":
            path = tmp_path / "nothing"
        case "no result":
            (path / "result.json").unlink()
        case "no weights":
            (path / "weights.npz").unlink()
        case "damaged":
            (path / "weights.npz").write_bytes((path / "weights.npz").read_bytes()[:-100])
        case "old":
            (path / "result.json").write_text("{}")
        case "no JSON":
            (path / "result.json").write_text("{")
        case _:
            (path / "result.json").write_text("[]")
    with pytest.raises(InputError) as caught:
        start_from(mlp(), NAMES, path)
    file = "weights.npz" if damage in ("no weights", "damaged") else "result.json"
    assert str(caught.value).startswith(f"{path / file}: ")
    remedy = "is this a run folder?" if damage.startswith("no ") and damage != "no JSON" else "writes it again"
    assert remedy in str(caught.value)


def test_a_network_with_fewer_layers_is_refused(tmp_path: Path) -> None:
    deep, flat = (MLP((6, 5), hidden, 3) for hidden in ([8, 8], [8]))
    write_npz(tmp_path / "weights.npz", {name: v.numpy() for name, v in deep.named_variables().items()})
    write_result(tmp_path, ["x", "y", "z"])
    for names in (["x", "y", "z"], ["a", "b", "c"]):
        with pytest.raises(InputError, match=r"its dense_2/kernel is \[8, 8\], the recipe's is missing"):
            start_from(flat, names, tmp_path)


class Plain(tf.Module):
    """Its attributes are in another order than its `forward` reads them."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.bias, self.head = tf.Variable(tf.zeros([classes])), tf.Variable(tf.ones([4, classes]))
        self.body = tf.Variable(tf.ones([30, 4]))

    def forward(self, images: tf.Tensor, training: bool, step: tf.Tensor | None) -> tf.Tensor:
        return tf.nn.relu(tf.reshape(images, [-1, 30]) @ self.body) @ self.head + self.bias


class HeadFirst(Network):
    def __init__(self, classes: int = 3) -> None:
        super().__init__((6, 5), classes, "head_first")
        self.head, self.body = Dense(4, classes, name="head"), Dense(30, 4, name="body")

    def forward(self, images: tf.Tensor, training: bool = False, step: tf.Tensor | None = None) -> tf.Tensor:
        x = self.body.forward(tf.reshape(images, [-1, 30]), training, step)
        return self.head.forward(x, training, step)


@pytest.mark.parametrize("make", [lambda n: as_network(Plain(n), (6, 5)), HeadFirst], ids=["module", "network"])
@pytest.mark.parametrize("names", [["ant", "cat", "bee"], ["ant", "bee"]])
def test_the_last_layer_of_an_own_network_is_what_its_forward_reads_last(
    tmp_path: Path, make: Any, names: list[str]
) -> None:
    weights = write_run(tmp_path / "run", make(3))
    model = make(len(names))
    start_from(model, names, tmp_path / "run")
    assert set(taken(model, weights)) == {name for name in weights if "body" in name}
