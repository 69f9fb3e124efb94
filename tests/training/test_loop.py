"""The loop: what is trained on and what is not, the same weights again, early stopping, averages, and divergence."""

import math
from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

import tfmnist.training.loop as loop
from tfmnist import seeds
from tfmnist.data.sources import load
from tfmnist.data.split import Digits, Split
from tfmnist.errors import DivergedError, InputError
from tfmnist.nn.layers import Dense, Flatten
from tfmnist.nn.models import CNN, MLP, Network, to_unit
from tfmnist.nn.optimizers import SGD, Adam, AdamW, Momentum
from tfmnist.nn.schedules import constant, warmup
from tfmnist.recipe import Augment, Loss, Recipe, Train
from tfmnist.runs import train as runs
from tfmnist.runs.build import load_events
from tfmnist.training.evaluation import evaluate
from tfmnist.training.events import Epoch, Progress, StepLoss
from tfmnist.training.loop import Trainer, fit, restored
from tfmnist.training.step import WeightAverage

Weights = dict[str, npt.NDArray[np.float32]]


class Recording(Split):
    """Records every position that is read."""

    def __init__(self, split: Split) -> None:
        super().__init__(split.images, split.labels)
        self.reads: list[npt.NDArray[np.int64]] = []

    def take(self, positions: Any) -> Any:
        self.reads.append(positions.copy())
        return super().take(positions)


class Untouchable(Split):
    """Must not be read."""

    @property
    def images(self) -> Any:
        raise AssertionError("read")

    def take(self, positions: Any) -> Any:
        raise AssertionError("read")


def quadrants(count: int = 130, seed: int = 0) -> Split:
    """Noise, and one bright quadrant that gives the class away."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 100, [count, 6, 6], np.uint8)
    labels = np.arange(count) % 4
    for image, label in zip(images, labels):
        row, column = 3 * (label // 2), 3 * (label % 2)
        image[row : row + 3, column : column + 3] += 120
    return Split(images, labels)


def mlp(**options: Any) -> Network:
    return MLP((6, 6), [12], 4, **{"seed": 0, **options})


def weights_of(model: Network | WeightAverage) -> Weights:
    return {name: variable.numpy() for name, variable in model.named_variables().items()}


def trained(model: Network | None = None, train: Split | None = None, **settings: Any) -> Weights:
    model = model or mlp()
    fit(model, train or quadrants(), **{"epochs": 2, "batch_size": 16, "compile": "graph", **settings})
    return weights_of(model)


def is_equal(left: Weights, right: Weights) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def complaint(call: Any) -> str:
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value).isprintable()
    return str(caught.value)


# Learning


@pytest.mark.parametrize("compile", ["auto", "graph", "eager"])
def test_fit_learns_and_returns_an_epoch_an_epoch(compile: Any) -> None:
    model, train, validation = mlp(), quadrants(), quadrants(seed=1)
    optimizer = Adam(model.parameters, 0.02)
    epochs = fit(model, train, validation=validation, optimizer=optimizer, epochs=6, batch_size=10, compile=compile)
    assert [(epoch.epoch, epoch.step) for epoch in epochs] == [(n, 13 * n) for n in range(1, 7)]
    assert epochs[-1].loss < 0.5 * epochs[0].loss
    assert epochs[-1].accuracy > 0.95
    measured = evaluate(model, validation)
    assert (epochs[-1].validation_loss, epochs[-1].validation_accuracy) == (measured.loss, measured.accuracy)
    assert all(epoch.learning_rate == pytest.approx(0.02) for epoch in epochs)
    assert all(epoch.seconds > 0 and epoch.images_per_second > 0 for epoch in epochs)


def test_fit_learns_real_digits(small: Path) -> None:
    digits = load(small, validation=100)
    epochs = fit(MLP((28, 28), [32], 10), digits.train, validation=digits.validation, epochs=6, batch_size=20)
    assert epochs[-1].validation_accuracy and epochs[-1].validation_accuracy > 0.75


@pytest.mark.parametrize("options", [{}, {"loss": "quadratic"}, {"loss": Loss(l2=1e-3)}, {"precision": "bfloat16"}])
def test_every_kind_of_fit_learns(options: dict[str, Any]) -> None:
    model = mlp()
    optimizer = Momentum(model.parameters, 0.1)
    epochs = fit(model, quadrants(), optimizer=optimizer, epochs=5, batch_size=10, compile="eager", **options)
    assert epochs[-1].accuracy > 0.9


def test_without_validation_there_is_no_validation_result() -> None:
    for validation in (None, Split(np.zeros([0, 6, 6], np.uint8), np.zeros([0], np.int64))):
        (epoch,) = fit(mlp(), quadrants(), validation=validation, epochs=1, compile="eager")
        assert (epoch.validation_loss, epoch.validation_accuracy) == (None, None)


# Every example, once per epoch


@pytest.mark.parametrize(("batch_size", "steps"), [(16, 9), (65, 2), (130, 1), (1_000, 1)])
def test_the_last_smaller_batch_is_trained_too(batch_size: int, steps: int) -> None:
    train = Recording(quadrants())
    model = mlp()
    optimizer = SGD(model.parameters, 0.01)
    (epoch,) = fit(model, train, optimizer=optimizer, epochs=1, batch_size=batch_size, compile="eager", seed=5)
    assert epoch.step == int(optimizer.step.numpy()) == steps
    assert epoch.accuracy * 130 == pytest.approx(round(epoch.accuracy * 130), abs=1e-9)
    *trained, looked_at = (positions.reshape(-1) for positions in train.reads)
    assert len(looked_at) == 64  # for signs that the training is sick
    order = np.concatenate(trained)
    np.testing.assert_array_equal(order[:130], seeds.permutation(5, 0, 130))
    assert not order[130:].any()  # padding, if any


def test_the_loss_of_an_epoch_is_the_mean_over_examples() -> None:
    model, train = mlp(), quadrants(50)
    (epoch,) = fit(model, train, optimizer=SGD(model.parameters, 1e-30), epochs=1, batch_size=16, compile="eager")
    measured = evaluate(model, train)
    assert epoch.loss == pytest.approx(measured.loss, rel=1e-6)
    assert epoch.accuracy == measured.accuracy


def test_progress_counts_towards_the_epoch() -> None:
    model = mlp()
    trainer = Trainer(
        model, SGD(model.parameters), quadrants(), None, Train(epochs=2, batch_size=16, block=3, compile="eager")
    )
    events = list(trainer.run())
    assert [(e.epoch, e.step) for e in events if isinstance(e, Progress)] == [
        (1, 3),
        (1, 6),
        (1, 8),
        (2, 3),
        (2, 6),
        (2, 8),
    ]
    assert [(type(e), e.epoch) for e in (events[3], events[-1])] == [(Epoch, 1), (Epoch, 2)]
    assert all(e.steps == 9 and math.isfinite(e.loss) for e in events if isinstance(e, Progress))
    assert trainer.finished and list(trainer.run()) == []


@pytest.mark.parametrize("compile", ["xla", "graph", "eager"])
def test_every_nth_step_is_logged_with_its_loss_and_learning_rate(compile: Any) -> None:
    def losses(every: int, block: Any) -> tuple[list[StepLoss], Weights]:
        model = mlp()
        optimizer = SGD(model.parameters, warmup(constant(0.1), 12))
        settings = Train(epochs=2, batch_size=20, block=block, compile=compile, log_steps=every)
        events = list(Trainer(model, optimizer, quadrants(), None, settings).run())
        where = [type(event).__name__ for event in events]
        assert where[-1] == "Epoch" and where.count("Epoch") == 2
        return [event for event in events if isinstance(event, StepLoss)], weights_of(model)

    every, weights = losses(1, block=2)  # 6 full batches of 130 examples, and one of 10
    assert [(row.step, row.epoch) for row in every] == [(step, 1 + (step > 7)) for step in range(1, 15)]
    assert [row.learning_rate for row in every] == pytest.approx([0.1 * min(step / 12, 1) for step in range(1, 15)])
    assert every[0].loss == pytest.approx(math.log(4), rel=0.3) and every[-1].loss < 0.8 * every[0].loss
    none, same = losses(0, block=5)
    assert none == [] and is_equal(same, weights)
    third, same = losses(3, block=1)
    assert third == [row for row in every if row.step % 3 == 0] and is_equal(same, weights)
    assert losses(100, block="auto")[0] == []


def test_the_logged_losses_average_to_the_loss_of_the_epoch() -> None:
    settings = Train(epochs=1, batch_size=20, compile="graph", log_steps=1)
    *steps, epoch = (e for e in Trainer(mlp(), None, quadrants(), None, settings).run() if not isinstance(e, Progress))
    assert isinstance(epoch, Epoch)
    sizes = [20.0] * 6 + [10.0]
    mean = sum(size * step.loss for size, step in zip(sizes, steps, strict=True) if isinstance(step, StepLoss)) / 130
    assert epoch.loss == pytest.approx(mean, rel=1e-6)


def test_steps_are_logged_up_to_the_one_that_diverges() -> None:
    model = mlp()
    settings = Train(epochs=1, batch_size=10, compile="graph", log_steps=2)
    events = Trainer(model, SGD(model.parameters, 1e30), quadrants(), None, settings).run()
    steps: list[Any] = []
    with pytest.raises(DivergedError, match="step 2 of 13"):
        steps.extend(events)
    assert [step.step for step in steps] == [2] and not math.isfinite(steps[0].loss)


def test_compiling_ahead_does_no_step() -> None:
    model = mlp(batch_norm=True)
    before = model.sha256()
    trainer = Trainer(model, SGD(model.parameters), quadrants(), None, Train(batch_size=16, compile="graph"))
    assert trainer.compile() > 0
    assert model.sha256() == before and int(trainer.optimizer.step.numpy()) == 0


def test_each_shape_of_block_is_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    traced: list[int | None] = []

    def counted(model: Any, optimizer: Any, images: Any, labels: Any, **options: Any) -> Any:
        traced.append(images.shape[0])
        return step(model, optimizer, images, labels, **options)

    step = loop.train_step
    monkeypatch.setattr(loop, "train_step", counted)
    trained(epochs=3, block=3)
    assert traced == [16, 2]


# What is not trained on


def test_validation_does_not_change_the_weights() -> None:
    validation = Recording(Split(np.full([50, 6, 6], 255, np.uint8), np.zeros([50], np.int64)))
    assert is_equal(trained(validation=validation, compile="eager"), trained(compile="eager"))
    assert [positions.tolist() for positions in validation.reads] == [list(range(50))] * 2  # once per epoch, to measure


def test_the_test_set_is_not_read_before_the_training_is_over(
    tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_with_locked_test(*arguments: Any) -> Iterator[Any]:
        digits = yield from load_events(*arguments)
        test = Untouchable(np.zeros([5, 28, 28], np.uint8), np.zeros([5], np.int64))
        return Digits(digits.train, digits.validation, test, digits.class_names, digits.source)

    monkeypatch.setattr(runs, "load_events", load_with_locked_test)
    changes = {"data.source": str(small), "data.validation": 100, "model.hidden": [8], "train.epochs": 2}
    recipe = Recipe().replace({**changes, "train.compile": "graph"})
    events: Iterator[Any] = runs.run_events(recipe, tmp_path / "run")
    seen: list[Any] = []
    with pytest.raises(AssertionError, match="read"):
        for event in events:
            seen.append(event)
    assert isinstance(seen[-1], Epoch) and seen[-1].epoch == 2


# The same weights again


@pytest.mark.parametrize(
    ("compile", "options"), [("graph", {"dropout": 0.3, "batch_norm": True}), ("xla", {"dropout": 0.3})]
)
def test_the_same_seed_gives_the_same_weights(compile: str, options: dict[str, Any]) -> None:
    augment = Augment(shift=1, rotate=10)
    first, second = (
        trained(mlp(**options), quadrants(128), augment=augment, compile=compile, epochs=1) for _ in range(2)
    )
    assert is_equal(first, second)


def test_another_seed_gives_other_weights() -> None:
    first = trained(compile="eager")
    assert not is_equal(first, trained(seed=1, compile="eager"))
    assert not is_equal(first, trained(mlp(seed=1), compile="eager"))


def test_the_length_of_a_block_does_not_change_the_weights() -> None:
    def with_block(block: int | str) -> Weights:
        return trained(mlp(dropout=0.3), block=block, augment=Augment(shift=1), epochs=1)

    one = with_block(1)
    assert is_equal(with_block(7), one)
    assert is_equal(with_block("auto"), one)


def test_lines_of_progress_do_not_change_the_weights() -> None:
    def with_progress(progress: int) -> tuple[Weights, list[int]]:
        model = mlp(dropout=0.3)
        settings = Train(epochs=1, batch_size=16, compile="eager", progress=progress)
        trainer = Trainer(model, Adam(model.parameters), quadrants(), None, settings)
        ends = [event.step for event in trainer.run() if isinstance(event, Progress)]
        return weights_of(model), ends

    plain, ends = with_progress(0)
    assert ends == [8]  # of 9 steps the last is short
    for progress, expected in ((3, [3, 6, 8]), (100, [5, 8])):
        weights, ends = with_progress(progress)
        assert is_equal(weights, plain)
        assert ends == expected


# Frozen layers


@pytest.mark.parametrize("compile", ["xla", "eager"])
def test_frozen_layers_stay_bit_for_bit(compile: str) -> None:
    model = mlp(batch_norm=True)
    model.freeze(["dense_1", "batch_norm_1"])
    before = weights_of(model)
    options: dict[str, Any] = {"loss": Loss(l1=0.01, l2=0.1), "clip_norm": 1.0, "average": 0.9, "epochs": 1}
    optimizer = AdamW(model.parameters, 0.1, weight_decay=0.5)
    after = trained(model, optimizer=optimizer, compile=compile, **options)
    changed = [name for name in before if not np.array_equal(before[name], after[name])]
    assert changed == ["logits/kernel", "logits/bias"]


def test_what_is_not_frozen_still_learns() -> None:
    model = MLP((6, 6), [30], 4, seed=0)
    model.freeze(["dense_1"])
    epochs = fit(model, quadrants(), optimizer=Adam(model.parameters, 0.02), epochs=6, batch_size=10, compile="eager")
    assert epochs[-1].loss < 0.5 * epochs[0].loss


def test_augmentation_changes_the_weights() -> None:
    plain = trained(compile="eager")
    assert not is_equal(trained(augment=Augment(shift=2), compile="eager"), plain)
    assert is_equal(trained(augment=Augment(), compile="eager"), plain)


# Early stopping and averages


class Script:
    """Replaces `evaluate`: returns scripted validation results and records the weights evaluated."""

    def __init__(self, *results: tuple[float, float]) -> None:
        self.results = iter(results)
        self.weights: list[Weights] = []

    def __call__(self, model: Network, split: Split, *_: Any) -> Any:
        self.weights.append(weights_of(model))
        loss, accuracy = next(self.results)
        return SimpleNamespace(metrics=SimpleNamespace(loss=loss, accuracy=accuracy), extra={})


@pytest.mark.parametrize(
    ("monitor", "patience", "average", "epochs", "best"),
    [
        ("accuracy", 1, 0.0, 3, 2),
        ("accuracy", 2, 0.0, 4, 2),
        ("accuracy", 2, 0.9, 4, 2),
        ("loss", 2, 0.0, 5, 3),
        ("accuracy", 9, 0.0, 6, 2),
        ("accuracy", 0, 0.0, 6, 6),
        ("accuracy", 0, 0.9, 6, 6),
    ],
)
def test_early_stopping_restores_the_best_epoch(
    monkeypatch: pytest.MonkeyPatch, monitor: Any, patience: int, average: float, epochs: int, best: int
) -> None:
    script = Script((0.9, 0.5), (0.8, 0.9), (0.7, 0.9), (0.7, 0.8), (0.9, 0.7), (0.9, 0.6))
    monkeypatch.setattr(loop, "outputs", script)
    model = mlp()
    options: dict[str, Any] = {"epochs": 6, "compile": "eager", "average": average}
    history = fit(model, quadrants(), validation=quadrants(seed=1), patience=patience, monitor=monitor, **options)
    assert len(history) == epochs
    measured = [is_equal(weights_of(model), weights) for weights in script.weights]
    assert [number for number, same in enumerate(measured, start=1) if same] == [best]


def test_averages_end_up_in_the_model() -> None:
    def train(average: float) -> Trainer:
        model = mlp(batch_norm=True)
        settings = Train(epochs=2, batch_size=16, compile="eager", average=average)
        trainer = Trainer(model, SGD(model.parameters, 0.1), quadrants(), None, settings)
        assert len([event for event in trainer.run() if isinstance(event, Epoch)]) == 2
        return trainer

    averaged, plain = train(0.9), train(0.0)
    assert averaged.averages is not None
    assert is_equal(weights_of(averaged.model), weights_of(plain.model))
    model = mlp(batch_norm=True)
    weights = trained(model, optimizer=SGD(model.parameters, 0.1), average=0.9, compile="eager")
    assert is_equal(weights, weights_of(averaged.averages))
    assert not is_equal(weights, weights_of(plain.model))


def test_averages_are_what_validation_measures() -> None:
    model, validation = mlp(), quadrants(seed=1)
    epochs = fit(model, quadrants(), validation=validation, epochs=2, compile="eager", average=0.9)
    assert epochs[-1].validation_loss == evaluate(model, validation).loss


# Divergence


@pytest.mark.parametrize("compile", ["graph", "xla", "eager"])
def test_a_diverging_loss_names_step_and_learning_rate(compile: Any) -> None:
    model = mlp(initializer="normal", init_scale=1.0)
    with pytest.raises(DivergedError) as caught:
        fit(model, quadrants(), optimizer=Momentum(model.parameters, 1e30), epochs=5, batch_size=16, compile=compile)
    message = str(caught.value)
    assert message.isprintable()
    for part in ("the loss is", "at epoch 1, step ", " of 9, learning rate 1e+30", "optimizer.learning_rate"):
        assert part in message
    deviation = np.std(mlp(initializer="normal", init_scale=1.0).parameters[0].numpy())
    assert f"standard deviation {deviation:.3g}" in message


@pytest.mark.parametrize("compile", ["graph", "eager"])
def test_a_loss_computed_as_printed_is_named_among_the_causes(compile: str) -> None:
    def diverged(model: Network, **options: Any) -> str:
        with pytest.raises(DivergedError) as caught:
            trained(model, compile=compile, epochs=1, **options)
        assert str(caught.value).isprintable()
        return str(caught.value)

    printed = diverged(mlp(initializer="normal", init_scale=100.0), loss="naive_cross_entropy")
    assert "the loss is nan at epoch 1, step 1 of 9" in printed
    assert "or log(softmax) of a probability of 0 (loss.kind cross_entropy)" in printed
    model = mlp()
    other = diverged(model, optimizer=Momentum(model.parameters, 1e30))
    assert "log(softmax)" not in other


def test_the_step_of_a_diverged_loss_is_the_first_that_is_not_finite() -> None:
    def diverged(block: int) -> str:
        model = mlp()
        with pytest.raises(DivergedError) as caught:
            trained(model, optimizer=Momentum(model.parameters, 1e30), block=block, compile="eager")
        return str(caught.value)

    assert diverged(1) == diverged(4)


def test_a_weight_that_is_not_finite_is_noticed_at_the_end_of_an_epoch() -> None:
    model = mlp()
    with pytest.raises(DivergedError, match="a weight is not finite at epoch 1, step 1 of 1"):
        trained(model, quadrants(4), optimizer=SGD(model.parameters, 3e38), loss=Loss(l2=1e3), compile="eager")


# Wrong input


@pytest.mark.parametrize(
    ("train", "options", "expected"),
    [
        (Split(np.zeros([4, 5, 6], np.uint8), np.arange(4)), {}, "training images are 5x6 but the model takes 6x6"),
        (Split(np.zeros([5, 6, 6], np.uint8), np.arange(5)), {}, "training label 4 is beyond the model's 4 classes"),
        (Split(np.zeros([0, 6, 6], np.uint8), np.arange(0)), {}, "there are no training examples"),
        (quadrants(), {"patience": 2}, "patience is 2 but there are no validation examples"),
        (quadrants(), {"epochs": 0}, "'train.epochs' is 0"),
        (quadrants(), {"batch_size": 2.5}, "'train.batch_size' is 2.5"),
        (quadrants(), {"loss": "cross_entrpy"}, "loss 'cross_entrpy' does not exist"),
    ],
)
def test_wrong_input_is_named(train: Split, options: dict[str, Any], expected: str) -> None:
    model = mlp()
    before = model.sha256()
    assert expected in complaint(lambda: fit(model, train, **options))
    assert model.sha256() == before


def test_validation_is_checked_too() -> None:
    for split, name in ((Split(np.zeros([4, 5, 6], np.uint8), np.arange(4)), "images"), (quadrants(4), "label 3")):
        model = MLP((6, 6), [4], 3)
        train = Split(np.zeros([3, 6, 6], np.uint8), np.arange(3))
        assert f"validation {name}" in complaint(lambda m=model, t=train, s=split: fit(m, t, validation=s))


def test_a_negative_label_is_refused() -> None:
    complaint(lambda: fit(mlp(), Split(np.zeros([4, 6, 6], np.uint8), np.array([0, 1, 2, -1])), compile="eager"))


def test_how_it_is_compiled_follows_the_network() -> None:
    def mode(model: Network, compile: Any = "auto") -> str:
        return Trainer(model, SGD(model.parameters), quadrants(), None, Train(compile=compile)).mode

    cnn = CNN((6, 6), ["conv 2 3x3", "global max"], 4)
    assert [mode(mlp()), mode(cnn)] == ["xla", "graph"]
    assert [mode(cnn, compile) for compile in ("xla", "graph", "eager")] == ["xla", "graph", "eager"]


@pytest.mark.parametrize("compile", ["xla", "graph"])
def test_training_leaves_the_optimizers_own_choice_alone(compile: str) -> None:
    model = mlp()
    optimizer = SGD(model.parameters, fused=compile == "xla")
    trained(model, optimizer=optimizer, epochs=1, compile=compile)
    assert optimizer.fused is (compile == "xla")


def test_fit_takes_the_train_section_of_a_recipe() -> None:
    settings = Train(epochs=2, batch_size=65, compile="eager", progress=1).model_dump()
    assert [epoch.step for epoch in fit(mlp(), quadrants(), **settings)] == [2, 4]
    defaults = {name: p.default for name, p in signature(fit).parameters.items() if name in settings}
    assert defaults == {**Train().model_dump(), "progress": True}
    for name, value in {"threads": 1, "log_steps": 10, "tensorboard": True}.items():
        with pytest.raises(InputError, match=f"{name} is {value} but has no effect in fit"):
            fit(mlp(), quadrants(), **{name: value})
    with pytest.raises(TypeError, match="epoch"):
        fit(mlp(), quadrants(), epoch=2)  # type: ignore[call-arg]


def test_values_are_restored_after_an_error_too() -> None:
    model = mlp()
    before = weights_of(model)
    with pytest.raises(KeyError), restored(model.named_variables().values()):
        for variable in model.variables:
            variable.assign_add(tf.ones_like(variable))
        raise KeyError
    assert is_equal(weights_of(model), before)


def test_only_scales_and_offsets_may_be_trained() -> None:
    model = MLP((4, 4), [8], 2, batch_norm=True)
    model.freeze(["dense_1", "logits"])
    x = np.zeros([8, 4, 4], np.uint8)
    assert len(fit(model, Split(x, np.arange(8) % 2), epochs=1, compile="eager")) == 1


# The user's own pieces


class Raw(tf.Module):
    """A plain module of raw variables."""

    def __init__(self) -> None:
        super().__init__()
        kernel = tf.random.stateless_normal([36, 4], (0, 1)) * 0.1
        self.weights = [tf.Variable(kernel), tf.Variable(tf.zeros(4))]

    def forward(self, images: tf.Tensor, training: bool, step: tf.Tensor | None) -> tf.Tensor:
        return tf.reshape(images, [-1, 36]) @ self.weights[0] + self.weights[1]


def halved(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return 0.5 * tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def is_right(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.equal(tf.argmax(logits, axis=-1), labels), tf.float32)


@pytest.mark.parametrize("compile", ["xla", "graph", "eager"])
def test_a_plain_module_is_trained(compile: Any) -> None:
    ends, module, history = [], Raw(), []
    for _ in range(2):
        module = Raw()
        before = [weight.numpy() for weight in module.weights]
        history = fit(
            module, quadrants(), validation=quadrants(seed=1), epochs=3, compile=compile, average=0.5, progress=False
        )
        assert history[-1].loss < history[0].loss
        assert not any(np.array_equal(weight, old) for weight, old in zip(module.weights, before))
        ends.append([weight.numpy() for weight in module.weights])
    assert all(np.array_equal(a, b) for a, b in zip(*ends))
    assert evaluate(module, quadrants(seed=1)).accuracy == history[-1].validation_accuracy


def test_a_loss_of_the_users_is_minimised_and_reported() -> None:
    ours, theirs = mlp(), mlp()
    options: dict[str, Any] = {"validation": quadrants(seed=1), "epochs": 2, "compile": "eager", "progress": False}
    optimizers = [SGD(ours.parameters, 0.1), SGD(theirs.parameters, 0.2)]
    expected = fit(ours, quadrants(), optimizer=optimizers[0], **options)
    history = fit(theirs, quadrants(), optimizer=optimizers[1], loss=halved, **options)
    for one, other in zip(history, expected):
        assert 2 * one.loss == pytest.approx(other.loss, rel=1e-4)
        assert 2 * (one.validation_loss or 0) == pytest.approx(other.validation_loss, rel=1e-4)


def test_metrics_of_the_users_are_means_over_validation() -> None:
    options: dict[str, Any] = {"validation": quadrants(37, seed=1), "epochs": 2, "compile": "eager", "progress": False}
    for metrics, name in (([is_right], "is_right"), ({"right": is_right}, "right")):
        history = fit(mlp(), quadrants(), metrics=metrics, **options)
        for epoch in history:
            assert epoch.metrics == {name: pytest.approx(epoch.validation_accuracy)}
            assert epoch.to_row()["metrics"] == epoch.metrics
    assert "metrics" not in fit(mlp(), quadrants(), **options)[0].to_row()


@pytest.mark.parametrize("compile", ["xla", "eager"])
def test_batches_of_a_dataset_train_like_the_same_batches_of_a_split(compile: Any) -> None:
    split = quadrants(50)
    order = seeds.permutation(0, 0, 50)
    data = tf.data.Dataset.from_tensor_slices((split.images[order], split.labels[order])).batch(16)
    models = mlp(), mlp()
    options: dict[str, Any] = {"epochs": 1, "batch_size": 16, "compile": compile, "progress": False}
    one = fit(models[0], split, **options)
    other = fit(models[1], data, **options)
    assert models[0].sha256() == models[1].sha256()
    assert (one[0].loss, one[0].accuracy, one[0].step) == (other[0].loss, other[0].accuracy, other[0].step)


def test_an_augmentation_of_the_users_is_a_function_of_seed_and_step() -> None:
    def noise(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.random.stateless_uniform(tf.shape(images), seed, 0, 256, tf.int32), tf.uint8)

    digests = []
    for block, seed in ((1, 0), (3, 0), (3, 1)):
        model = mlp()
        fit(
            model,
            quadrants(),
            augment=noise,
            epochs=2,
            batch_size=16,
            block=block,
            seed=seed,
            compile="graph",
            progress=False,
        )
        digests.append(model.sha256())
    assert digests[0] == digests[1] != digests[2]


def test_pairs_of_arrays_are_a_split() -> None:
    split, models = quadrants(), (mlp(), mlp())
    fit(models[0], split, validation=split, epochs=1, compile="eager", progress=False)
    arrays = (split.images, split.labels.astype(np.uint8))
    fit(models[1], arrays, validation=arrays, epochs=1, compile="eager", progress=False)
    assert models[0].sha256() == models[1].sha256()


class Hidden:
    """No tf.Module, so what it holds is not found."""

    def __init__(self) -> None:
        self.weight = tf.Variable(tf.ones([36, 4]))


class Loses(Raw):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = Hidden()

    def forward(self, images: tf.Tensor, training: bool, step: tf.Tensor | None) -> tf.Tensor:
        return super().forward(images, training, step) + tf.reshape(images, [-1, 36]) @ self.hidden.weight


class Idle(Raw):
    def __init__(self) -> None:
        super().__init__()
        self.unused = tf.Variable(tf.ones([2]))


class OneLogit(Raw):
    def forward(self, images: tf.Tensor, training: bool, step: tf.Tensor | None) -> tf.Tensor:
        return super().forward(images, training, step)[:, :1]


class Unshaped(Raw):
    def forward(self, images: tf.Tensor, training: bool, step: tf.Tensor | None) -> tf.Tensor:
        logits: Any = tf.numpy_function(lambda x: x, [super().forward(images, training, step)], tf.float32)
        return logits


class Pair(Raw):
    def forward(self, images: tf.Tensor, training: bool, step: tf.Tensor | None) -> Any:
        return super().forward(images, training, step), step


class Helped(Raw):
    """Reads a variable that no attribute holds, in training only."""

    hidden = Hidden()

    def forward(self, images: tf.Tensor, training: bool, step: tf.Tensor | None) -> tf.Tensor:
        logits = super().forward(images, training, step)
        return logits + tf.reshape(images, [-1, 36]) @ self.hidden.weight if training else logits


class Orphan(Raw):
    def __init__(self) -> None:
        pass


class NoVariables(tf.Module):
    def forward(self, images: tf.Tensor, training: bool, step: tf.Tensor | None) -> tf.Tensor:
        return tf.reshape(images, [-1, 36])[:, :4]


class OneArgument(Raw):
    def forward(self, images: tf.Tensor) -> tf.Tensor:  # type: ignore[override]
        return tf.reshape(images, [-1, 36]) @ self.weights[0]


class Returns(SGD):
    def update(self, parameter: Any, gradient: Any, slots: Any, learning_rate: Any, t: Any) -> Any:
        return parameter - learning_rate * gradient


class NoSuper(SGD):
    def __init__(self, parameters: Any) -> None:
        pass


class Uncounted(SGD):
    def apply(self, gradients: Any, *, fused: bool | None = None) -> None:
        for parameter, gradient in zip(self.parameters, gradients):
            parameter.assign_sub(0.1 * gradient)


def optimizer_of(rule: Any) -> dict[str, Any]:
    model = mlp()
    return {"model": model, "optimizer": rule(model.parameters)}


def other_optimizer() -> dict[str, Any]:
    model = mlp()
    return {"model": model, "optimizer": Adam(mlp().parameters)}


def partial_optimizer() -> dict[str, Any]:
    model = mlp()
    return {"model": model, "optimizer": Adam(model.parameters[:2])}


def frozen_optimizer() -> dict[str, Any]:
    model = mlp()
    optimizer = Adam(model.parameters)
    model.freeze(["dense_1"])
    return {"model": model, "optimizer": optimizer}


def returning_optimizer() -> dict[str, Any]:
    model = mlp()
    return {"model": model, "optimizer": Returns(model.parameters)}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (other_optimizer, "the optimizer updates .*, which the model does not have: expected the model's parameters"),
        (partial_optimizer, "the optimizer does not update .*: expected all parameters of the model"),
        (frozen_optimizer, "the optimizer updates dense_1/kernel, which is frozen"),
        (returning_optimizer, "Returns.update returns a value: expected None"),
        (lambda: {"optimizer": "adam"}, "the optimizer is a str: expected a tfmnist.Optimizer"),
        (
            lambda: {"model": Loses()},
            r"forward reads the variable Variable:0 \[36, 4\], which no attribute of the network",
        ),
        (lambda: {"model": Idle()}, "unused does not influence the loss, so it has no gradient"),
        (lambda: {"model": OneLogit()}, r"forward returns shape \[None, 1\], expected \[batch, 2\]"),
        (lambda: optimizer_of(NoSuper), r"NoSuper: its constructor must call super\(\).__init__"),
        (lambda: optimizer_of(Uncounted), r"Uncounted.apply does not count: expected step.assign_add\(1\)"),
        (lambda: {"model": Unshaped()}, "forward returns an unknown shape; set it with tf.ensure_shape"),
        (lambda: {"validation": quadrants(), "metrics": is_right}, "metrics is a function: expected a list"),
        (lambda: {"validation": quadrants(), "metrics": [is_right, is_right]}, "metrics has 'is_right': .* of its own"),
        (lambda: {"validation": quadrants(), "metrics": {"": is_right}}, "metrics has <function .* of its own"),
        (lambda: {"model": Pair()}, "forward returns a tuple, expected logits and nothing else"),
        (lambda: {"model": Helped()}, "forward reads the variable Variable:0 .*, which no attribute"),
        (lambda: {"model": Orphan()}, r"Orphan: its constructor must call super\(\).__init__\(\)"),
        (lambda: {"model": NoVariables()}, "has no variables to train: expected at least one"),
        (lambda: {"model": OneArgument()}, r"OneArgument: expected a method forward\(images, training, step\)"),
        (lambda: {"model": tf.Module()}, r"Module: expected a method forward\(images, training, step\)"),
        (lambda: {"model": object()}, "the model is a object: expected a tf.Module"),
        (lambda: {"loss": lambda z, y: tf.reduce_mean(halved(z, y))}, r"returns shape \[\], expected \[batch\]"),
        (lambda: {"loss": lambda z, y: z}, r"returns shape \[.*, 4\], expected \[batch\]"),
        (lambda: {"augment": lambda x, seed: tf.cast(x, tf.float32)}, "the augmentation returns float32"),
        (lambda: {"metrics": [is_right]}, "metrics has is_right but there are no validation examples"),
        (lambda: {"steps_per_epoch": -3}, "steps_per_epoch is -3: expected a number of batches"),
        (lambda: {"clip_norm": -1.0}, "clip_norm is -1.0: expected a limit of at least 0"),
        (lambda: {"steps_per_epoch": 3}, "steps_per_epoch is 3: it applies only to a tf.data.Dataset"),
        (lambda: {"train": quadrants().images}, "the examples are a ndarray: expected a tfmnist.Split"),
    ],
)
def test_pieces_of_the_users_that_do_not_fit_are_named(options: Any, said: str) -> None:
    chosen: dict[str, Any] = {"train": quadrants(), **options()}
    model = chosen.pop("model", None) or mlp()
    with pytest.raises(InputError, match=said) as caught:
        fit(model, chosen.pop("train"), epochs=1, compile="eager", progress=False, **chosen)
    assert "\n" not in str(caught.value)


def test_a_rule_of_the_users_is_not_overtaken_by_the_one_it_inherits() -> None:
    class Still(Adam):
        def update(self, parameter: Any, gradient: Any, slots: Any, learning_rate: Any, t: Any) -> None:
            pass

    model = mlp()
    before = model.sha256()
    with pytest.raises(InputError, match="Still changed no weight in an epoch: expected update to assign"):
        fit(model, quadrants(), optimizer=Still(model.parameters), epochs=1, compile="graph", progress=False)
    assert model.sha256() == before


def test_the_state_of_a_rule_of_the_users_is_in_the_checkpoint() -> None:
    class Counts(SGD):
        def __init__(self, parameters: Any) -> None:
            super().__init__(parameters, 0.1)
            self.seen = tf.Variable(tf.zeros([]), trainable=False)

        def update(self, parameter: Any, gradient: Any, slots: Any, learning_rate: Any, t: Any) -> None:
            self.seen.assign_add(1.0)
            super().update(parameter, gradient, slots, learning_rate, t)

    module = Raw()
    trainer = Trainer(
        module, Counts(module.weights), quadrants(), None, Train(epochs=1, batch_size=16, compile="eager")
    )
    *_, last = trainer.run()
    assert float(trainer.named_variables()["optimizer/seen"].numpy()) == 2.0 * last.step
    names = ["weights/weights/0", "weights/weights/1", "optimizer/step", "optimizer/seen"]
    assert list(trainer.named_variables()) == names


def test_what_xla_cannot_compile_is_said_with_the_way_out() -> None:
    class Unique(Raw):
        def forward(self, images: tf.Tensor, training: bool, step: tf.Tensor | None) -> tf.Tensor:
            count = tf.size(tf.unique(tf.reshape(tf.cast(images * 9, tf.int32), [-1])).y)
            text = tf.strings.length(tf.strings.as_string(count))
            return super().forward(images, training, step) + tf.cast(text, tf.float32)

    with pytest.raises(InputError, match=r"XLA cannot compile the training step: .*compile graph"):
        fit(Unique(), quadrants(), epochs=1, compile="xla", progress=False)
    assert fit(Unique(), quadrants(), epochs=1, compile="graph", progress=False)


def test_a_module_may_count_and_averages_take_the_last_count() -> None:
    class Counting(Raw):
        def __init__(self) -> None:
            super().__init__()
            self.seen = tf.Variable(tf.zeros([], tf.int64), trainable=False)

        def forward(self, images: tf.Tensor, training: bool, step: tf.Tensor | None) -> tf.Tensor:
            if training:
                self.seen.assign_add(1)
            return super().forward(images, training, step)

    module = Counting()
    *_, last = fit(module, quadrants(), epochs=2, batch_size=16, average=0.9, compile="graph", progress=False)
    assert int(module.seen.numpy()) == last.step


def test_validation_is_by_the_layers_that_a_network_has_now() -> None:
    model = Network((6, 6), 4, "grows", [Flatten((6, 6)), Dense(36, 4, name="logits")])
    evaluate(model, quadrants())
    model.layers.insert(1, Dense(36, 36, name="more"))
    history = fit(model, quadrants(), validation=quadrants(seed=1), epochs=2, compile="graph", progress=False)
    classes = np.argmax(model.forward(to_unit(tf.constant(quadrants(seed=1).images))), axis=1)
    assert history[-1].validation_accuracy == np.mean(classes == quadrants(seed=1).labels)


def test_a_loop_over_a_dataset_that_was_left_after_an_epoch_goes_on() -> None:
    def trained(pauses: bool) -> str:
        data = tf.data.Dataset.from_tensor_slices((quadrants().images, quadrants().labels)).batch(9)
        model = mlp()
        settings = Train(epochs=3, compile="eager", block=2)
        trainer = Trainer(model, None, data, None, settings, augment=dimmed, steps_per_epoch=4)
        while not trainer.finished:
            for event in trainer.run():
                if pauses and isinstance(event, Epoch):
                    break
        return model.sha256()

    def dimmed(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return images // tf.cast(1 + tf.math.floormod(seed[1], 7), tf.uint8)

    assert trained(True) == trained(False)
    data = tf.data.Dataset.from_tensor_slices((quadrants().images, quadrants().labels)).batch(9)
    trainer = Trainer(mlp(), None, data, None, Train(epochs=3, compile="eager", block=1))
    next(trainer.run())
    with pytest.raises(InputError, match="was left within an epoch of a dataset"):
        next(trainer.run())
