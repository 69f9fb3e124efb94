"""Transposed kernels: the same training up to rounding, for every optimizer, and no trace of it outside the loop."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

import tfmnist
from tfmnist.data.split import Split
from tfmnist.nn.layers import Activation, Dense, Flatten
from tfmnist.nn.models import MLP, Network
from tfmnist.nn.optimizers import OPTIMIZERS, Adam
from tfmnist.recipe import Loss, Train
from tfmnist.training.loop import Trainer

RANDOM = np.random.default_rng(0)
SPLIT = Split(RANDOM.integers(0, 256, [48, 8, 8], np.uint8), np.arange(48) % 4)
SETTINGS: dict[str, Any] = {"batch_size": 16, "block": 3, "epochs": 2, "average": 0.9}


def trainer(model: Network, kind: str = "adam", loss: Any = "cross_entropy", **settings: Any) -> Trainer:
    optimizer = OPTIMIZERS[kind](model.parameters, 0.01)
    train = Train.model_validate({**SETTINGS, **settings})
    return Trainer(model, optimizer, SPLIT, None, train, loss=loss, clip_norm=0.5)


def variables_after_training(trainer: Trainer) -> dict[str, npt.NDArray[Any]]:
    assert len(list(trainer.run())) == trainer.settings.epochs
    return {name: variable.numpy() for name, variable in trainer.named_variables().items()}


def shapes_inside(trainer: Trainer) -> list[list[int | None]]:
    """Returns the shapes of the kernels inside the loop."""
    with trainer.layout():
        return [v.shape.as_list() for v in trainer.optimizer.parameters if v.shape.rank == 2]


def assert_close(one: dict[str, npt.NDArray[Any]], other: dict[str, npt.NDArray[Any]], atol: float = 1e-5) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_allclose(value, other[name], rtol=1e-3, atol=atol, err_msg=name)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("hidden", [[12], [64, 4]])  # 64 units are not few; the logits are square with 4
def test_training_is_the_same_up_to_rounding(kind: str, hidden: list[int]) -> None:
    options: dict[str, Any] = {"kind": kind, "loss": Loss(l2=0.01, l1=0.001)}
    one = trainer(MLP((8, 8), hidden, 4, dropout=0.2), compile="xla", **options)
    other = trainer(MLP((8, 8), hidden, 4, dropout=0.2), compile="graph", **options)
    assert shapes_inside(one) == ([[12, 64], [4, 12]] if hidden == [12] else [[64, 64], [4, 64], [4, 4]])
    atol = 1e-3 if kind == "muon" else 1e-5  # muon rounds dense kernels to bfloat16, differently in XLA
    assert_close(variables_after_training(one), variables_after_training(other), atol)


def test_outside_the_loop_nothing_is_transposed() -> None:
    model = MLP((8, 8), [12], 4)
    training = trainer(model)
    variables = training.named_variables()
    variables_after_training(training)
    assert training.named_variables() == variables
    assert [v.shape.as_list() for v in model.parameters] == [[64, 12], [12], [12, 4], [4]]
    assert not any(layer.transposed for layer in model.layers if isinstance(layer, Dense))
    assert model.logits(SPLIT.images).shape == [48, 4]


def test_frozen_kernels_stay_as_they_are() -> None:
    model = MLP((8, 8), [12], 4)
    model.freeze(["dense_1"])
    training, before = trainer(model), model.layers[1].kernel.numpy()
    assert shapes_inside(training) == [[4, 12]]
    variables_after_training(training)
    np.testing.assert_array_equal(model.layers[1].kernel.numpy(), before)


class Sequence(Network):
    """A user's network that only lists layers of ours."""

    def __init__(self) -> None:
        super().__init__((8, 8), 4, "sequence")
        self.layers = [
            Flatten((8, 8)),
            Dense(64, 12, name="dense_1"),
            Activation((12,), "relu", name="relu_1"),
            Dense(12, 4, name="logits"),
        ]


class Tied(Sequence):
    """A user's network whose forward pass reads a kernel by itself."""

    def forward(self, images: tf.Tensor, training: bool = False, step: tf.Tensor | None = None) -> tf.Tensor:
        return super().forward(images, training, step) + tf.reduce_mean(self.parameters[2], axis=0)


class Own(Dense):
    """A user's layer."""


class WithOwn(Sequence):
    def __init__(self) -> None:
        super().__init__()
        self.layers[3] = Own(12, 4, name="logits")


class OwnAdam(Adam):
    """A user's optimizer, which may do more than elementwise updates."""


def test_a_network_that_lists_layers_trains_like_the_same_mlp() -> None:
    ours, theirs = (
        variables_after_training(trainer(MLP((8, 8), [12], 4))),
        variables_after_training(trainer(Sequence())),
    )
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name])


def test_a_layer_may_be_used_twice() -> None:
    def train(compile: str) -> dict[str, npt.NDArray[Any]]:
        shared = Dense(12, 12, name="shared")
        layers = [Flatten((8, 8)), Dense(64, 12, name="dense_1"), shared, shared, Dense(12, 4, name="logits")]
        return variables_after_training(trainer(Network((8, 8), 4, "twice", layers), compile=compile))

    assert_close(train("xla"), train("graph"))


def test_where_code_of_the_users_may_read_a_kernel_it_stays_as_it_is() -> None:
    plain = [[64, 12], [12, 4]]
    assert shapes_inside(trainer(Tied())) == shapes_inside(trainer(WithOwn())) == plain
    assert shapes_inside(trainer(MLP((8, 8), [12], 4), loss=lambda logits, labels: logits[:, 0])) == plain
    model = MLP((8, 8), [12], 4)
    own = Trainer(model, OwnAdam(model.parameters), SPLIT, None, Train(batch_size=16))
    assert shapes_inside(own) == plain


def test_a_loss_that_is_not_finite_leaves_weights_in_order() -> None:
    model = MLP((8, 8), [12], 4)
    training = trainer(model, "sgd", "naive_cross_entropy")
    model.layers[1].kernel.assign(1e6 * model.layers[1].kernel)
    with pytest.raises(tfmnist.DivergedError):
        list(training.run())
    assert model.layers[1].kernel.shape == [64, 12]
    assert not model.layers[1].transposed
