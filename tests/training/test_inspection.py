"""Inspection: the arrays are those of the network, few, small, and the same each time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfmnist.data.augment import augment_block
from tfmnist.data.sources import load
from tfmnist.data.split import Split
from tfmnist.nn.models import CNN, MLP, Network
from tfmnist.recipe import Augment, Recipe
from tfmnist.runs.build import make_model
from tfmnist.system.files import write_npz
from tfmnist.training.inspection import inspect

TURN = Augment(rotate=20, shift=1)


def split_of(count: int = 12, shape: tuple[int, int] = (12, 10), classes: int = 3) -> Split:
    images = np.random.default_rng(0).integers(256, size=[count, *shape]).astype(np.uint8)
    return Split(images, np.arange(count) // 2 % classes)


def look(model: Network, augment: Augment = Augment(), **split: Any) -> dict[str, Any]:
    return inspect(model, split_of(shape=model.image_shape, **split), augment, seed=5)


def test_weights_of_dense_units_are_images_the_strongest_first() -> None:
    model = MLP((12, 10), [40, 7], 3)
    arrays = look(model)
    assert set(arrays) == {"first_layer", "first_weights"}
    assert arrays["first_layer"].item() == "dense_1"
    kernel = model.named_variables()["dense_1/kernel"].numpy()
    norms = np.linalg.norm(kernel, axis=0)
    order = np.argsort(-norms)[:32]
    np.testing.assert_array_equal(arrays["first_weights"], kernel.T[order].reshape(-1, 12, 10))


def test_softmax_regression_shows_its_logits() -> None:
    arrays = look(MLP((12, 10), [], 3))
    assert (arrays["first_layer"].item(), arrays["first_weights"].shape) == ("logits", (3, 12, 10))


def test_kernels_of_the_first_convolution() -> None:
    model = CNN((12, 10), ["conv 6 5x3", "max 2", "conv 20 3x3", "global max"], 3)
    arrays = look(model)
    kernel = model.named_variables()["conv_1/kernel"].numpy()
    assert (arrays["first_layer"].item(), arrays["first_weights"].shape) == ("conv_1", (6, 5, 3))
    kernels = {kernel[:, :, 0, unit].tobytes() for unit in range(6)}
    assert {weights.tobytes() for weights in arrays["first_weights"]} == kernels
    assert (np.diff(np.square(arrays["first_weights"]).sum(axis=(1, 2))) <= 0).all()


@pytest.mark.parametrize(
    ("layers", "shape"),
    [(["flatten", "dense 8"], (12, 10)), (["max 2", "dense 8"], (6, 5)), (["global average", "dense 8"], (1, 1))],
)
def test_a_dense_layer_is_drawn_on_the_plane_before_it(layers: list[str], shape: tuple[int, int]) -> None:
    arrays = look(CNN((12, 10), layers, 3))
    assert (arrays["first_layer"].item(), arrays["first_weights"].shape) == ("dense_1", (8, *shape))
    assert "picture" not in arrays


@pytest.mark.parametrize("batch_norm", [True, False])
def test_maps_are_what_the_layers_give(batch_norm: bool) -> None:
    layers = ["conv 6 3x3", "max 2", "conv 20 3x3", "dense 4"]
    model = CNN((12, 10), layers, 3, batch_norm=batch_norm, activation="tanh")
    arrays, split = look(model), split_of()
    np.testing.assert_array_equal(arrays["picture"], split.images[0])
    steps = ["batch_norm_{n}", "tanh_{n}"] if batch_norm else ["tanh_{n}"]
    expected = [" + ".join(["conv_{n}", *steps]).format(n=n) for n in (1, 2)]
    assert arrays["map_names"].tolist() == expected
    x = tf.constant(split.images[:1].astype(np.float32) / 255)
    for layer in model.layers:
        x = layer.forward(x, False, None)
        if layer.name == "tanh_1":
            first = x[0].numpy()
        if layer.name == "tanh_2":
            second = x[0].numpy()
            break
    for maps, whole, count in ((arrays["map_0"], first, 6), (arrays["map_1"], second, 16)):  # pyright: ignore
        order = np.argsort(-np.abs(whole).sum(axis=(0, 1)))[:count]
        np.testing.assert_allclose(maps, whole.transpose(2, 0, 1)[order], atol=1e-5)
        assert maps.dtype == np.float32


def test_of_many_convolutions_the_first_and_the_last_are_among_the_four() -> None:
    arrays = look(CNN((12, 10), ["conv 2 3x3"] * 7, 3, batch_norm=False))
    names = arrays["map_names"].tolist()
    assert len(names) == 4
    assert (names[0], names[-1]) == ("conv_1 + relu_1", "conv_7 + relu_7")


def test_versions_are_those_of_training() -> None:
    arrays, split = look(MLP((12, 10), [4], 3), TURN), split_of()
    originals, changed = arrays["augmented_originals"], arrays["augmented"]
    np.testing.assert_array_equal(originals, split.images[[0, 2, 4]])  # of three classes
    assert (changed.shape, changed.dtype) == ((3, 8, 12, 10), np.uint8)
    assert len({image.tobytes() for image in changed.reshape(24, 12, 10)}) == 24
    for step in (0, 5):
        expected = augment_block(
            tf.constant(originals[np.newaxis]), tf.constant(step, tf.int64), 5, **TURN.model_dump()
        ).numpy()[0]
        np.testing.assert_array_equal(changed[:, step], expected)


def test_two_classes_give_two_originals() -> None:
    assert look(MLP((12, 10), [4], 2), TURN, classes=2)["augmented"].shape == (2, 8, 12, 10)


def test_the_same_arguments_give_the_same_arrays_and_change_nothing() -> None:
    model = CNN((12, 10), ["conv 6 3x3", "dropout 0.5", "dense 4"], 3)
    before = model.sha256()
    first, second = look(model, TURN), look(model, TURN)
    assert list(first) == list(second)
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])
    assert model.sha256() == before


@pytest.mark.parametrize("shape", [(1, 1), (2, 90), (300, 260)])
def test_other_sizes(shape: tuple[int, int]) -> None:
    arrays = look(CNN(shape, ["conv 3 1x1", "dense 4"], 3), TURN, count=6)
    assert arrays["map_0"].shape[1:] == arrays["picture"].shape == shape
    assert look(MLP(shape, [3], 3), TURN, count=6)["first_weights"].shape[1:] == shape


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_the_file_of_a_shipped_recipe_is_small(name: str, small: Path, tmp_path: Path) -> None:
    digits = load(small, validation=0)
    model = make_model(Recipe.load(name).model, (28, 28), 10, seed=0)
    write_npz(tmp_path / "inspection.npz", inspect(model, digits.train, TURN, 0))
    assert (tmp_path / "inspection.npz").stat().st_size < 300_000
