"""The profile: it leaves the trainer as it was, its parts make up the step, and its operations are counted by hand."""

import numpy as np
import pytest

from tfmnist.data.split import Split
from tfmnist.nn.models import CNN, MLP, Network
from tfmnist.nn.optimizers import Adam
from tfmnist.recipe import Train
from tfmnist.training import profile as module
from tfmnist.training.loop import Trainer
from tfmnist.training.profile import Profile, profile

SPLIT = Split(np.random.default_rng(0).integers(0, 256, [70, 8, 8], np.uint8), np.arange(70) % 4)


def trainer(model: Network, **settings: object) -> Trainer:
    options = {"batch_size": 16, "compile": "graph", "average": 0.9, **settings}
    return Trainer(model, Adam(model.parameters), SPLIT, None, Train.model_validate(options))


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.05)


@pytest.mark.parametrize("compile", ["graph", "xla"])
def test_the_trainer_is_left_as_it_was(compile: str) -> None:
    profiled, untouched = (trainer(MLP((8, 8), [12], 4), compile=compile) for _ in range(2))
    profile(profiled)
    for name, variable in profiled.named_variables().items():
        np.testing.assert_array_equal(variable.numpy(), untouched.named_variables()[name].numpy())
    assert (profiled.state.epoch, profiled.state.step) == (0, 0)
    assert len(list(profiled.run())) == len(list(untouched.run()))
    assert profiled.model.sha256() == untouched.model.sha256()


def test_figures_fit_together() -> None:
    result = profile(trainer(MLP((8, 8), [12], 4)))
    assert min(result.step, result.forward, result.peak, result.bandwidth, result.data) > 0
    assert result.traffic == 4 * 9 * (64 * 12 + 12 + 12 * 4 + 4)  # gradient, weight, two slots, average
    assert result.limit == pytest.approx(1e6 * (result.operations / result.peak + result.traffic / result.bandwidth))
    assert result.share == pytest.approx(result.limit / result.step)
    assert Profile(**{key: value for key, value in result.to_dict().items() if key not in ("limit", "share")}) == result


@pytest.mark.parametrize(
    ("model", "freeze", "multiply_adds"),
    [
        (MLP((8, 8), [12], 4), [], 2 * 64 * 12 + 3 * 12 * 4),  # the first layer needs no gradient of its input
        (MLP((8, 8), [12], 4), ["dense_1"], 64 * 12 + 2 * 12 * 4),
        (CNN((8, 8), ["conv 3 3x3", "max 2", "conv 5 3x3"], 4), [], 2 * 64 * 27 + 3 * 16 * 135 + 3 * 80 * 4),
    ],
)
def test_operations_are_counted(model: Network, freeze: list[str], multiply_adds: int) -> None:
    model.freeze(freeze)
    assert module._multiply_adds(trainer(model)) == multiply_adds
