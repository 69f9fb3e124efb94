"""One step, and the compiled loop of them: the same numbers in every mode, and no step too many."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from tfmnist.nn.losses import Objective, find_loss
from tfmnist.nn.models import CNN, MLP, Network
from tfmnist.nn.optimizers import SGD, Adam, Optimizer
from tfmnist.training.step import CompileMode, WeightAverage, make_steps, train_step

MODES: list[CompileMode] = ["eager", "graph", "xla"]
Weights = dict[str, npt.NDArray[np.float32]]


def batches(steps: int, batch: int = 8, side: int = 6, seed: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, [steps, batch, side, side], np.uint8)
    return tf.constant(images), tf.constant(random.integers(0, 3, [steps, batch]))


def mlp(**options: Any) -> Network:
    return MLP((6, 6), [10], 3, seed=1, **options)


def weights(model: Network) -> Weights:
    return {name: variable.numpy() for name, variable in model.named_variables().items()}


def assert_equal(left: Weights, right: Weights) -> None:
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def compiled(model: Network, optimizer: Optimizer, mode: CompileMode, **options: Any) -> Any:
    step = partial(train_step, model, optimizer, fused=mode != "xla", **{"loss": Objective(), **options})
    return make_steps(step, mode)


def one_step(model: Network, learning_rate: float = 0.5, **options: Any) -> tuple[float, int]:
    images, labels = batches(1)
    value, correct = train_step(
        model, SGD(model.parameters, learning_rate), images[0], labels[0], **{"loss": Objective(), **options}
    )
    return float(value), int(correct)


# The step


def test_a_step_returns_the_loss_and_the_hits_before_the_update() -> None:
    model = mlp()
    images, labels = (x[0].numpy() for x in batches(1))
    logits = model.logits(images).numpy().astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    value, correct = one_step(model)
    assert value == pytest.approx(-np.log(probabilities[np.arange(8), labels]).mean(), rel=1e-5)
    assert correct == (logits.argmax(axis=1) == labels).sum()


def test_a_step_goes_down_the_gradient() -> None:
    model = mlp()
    images, labels = (x[0] for x in batches(1))
    before = weights(model)
    with tf.GradientTape() as tape:
        logits = model.forward(tf.cast(images, tf.float32) / 255)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    gradients: Any = tape.gradient(loss, model.parameters)
    one_step(model, learning_rate=0.5)
    for name, gradient in zip(before, gradients, strict=True):
        np.testing.assert_allclose(weights(model)[name], before[name] - 0.5 * gradient.numpy(), atol=1e-6)


@pytest.mark.parametrize("build", [mlp, partial(CNN, (6, 6), ["conv 4 3x3", "max 2", "dense 8"], 3)])
def test_all_modes_give_the_same_weights(build: Any) -> None:
    results: list[Weights] = []
    for mode in MODES:
        model = build()
        steps = compiled(model, SGD(model.parameters, 0.1), mode, clip_norm=1.0)
        steps(*batches(5), 5)
        results.append(weights(model))
    assert np.abs(results[0]["logits/kernel"] - build().named_variables()["logits/kernel"].numpy()).max() > 0.01
    for other in results[1:]:
        for name in other:
            np.testing.assert_allclose(other[name], results[0][name], atol=1e-5, err_msg=name)


def test_dropout_drops_the_same_in_every_mode() -> None:
    images, labels = batches(2)
    losses = []
    for mode in MODES:
        model = mlp(dropout=0.5)
        losses.append(float(compiled(model, SGD(model.parameters, 0.1), mode)(images, labels, 2)[0]))
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)


def test_quadratic_loss_is_minimised() -> None:
    model, (images, labels) = mlp(), batches(1)
    steps = compiled(model, SGD(model.parameters, 0.5), "graph", loss=find_loss("quadratic"))
    losses = [float(steps(images, labels, 1)[3]) for _ in range(30)]
    assert losses[-1] < 0.7 * losses[0]


# Penalties, clipping, precision


@pytest.mark.parametrize(("l1", "l2"), [(0.01, 0.0), (0.0, 0.02), (0.01, 0.02)])
def test_penalties_add_to_the_loss_and_shrink_the_kernels_only(l1: float, l2: float) -> None:
    plain, model = mlp(), mlp()
    before = {name: array.astype(np.float64) for name, array in weights(model).items()}
    kernels = [name for name in before if name.endswith("kernel")]
    added = sum(l1 * np.abs(before[name]).sum() + l2 * np.square(before[name]).sum() / 2 for name in kernels)
    without, with_penalty = one_step(plain)[0], one_step(model, loss=Objective(l1=l1, l2=l2))[0]
    assert with_penalty - without == pytest.approx(added, rel=1e-4)
    for name, array in weights(plain).items():
        pull = 0.5 * (l1 * np.sign(before[name]) + l2 * before[name]) if name in kernels else 0.0
        np.testing.assert_allclose(weights(model)[name], array - pull, atol=1e-6, err_msg=name)


def test_label_smoothing_changes_the_loss() -> None:
    assert one_step(mlp(), loss=find_loss("cross_entropy", 0.2))[0] != pytest.approx(one_step(mlp())[0], rel=1e-3)


@pytest.mark.parametrize("limit", [0.01, 0.1, 1e6])
def test_clipping_limits_the_length_of_a_step(limit: float) -> None:
    def length(**options: float) -> float:
        model = mlp()
        before = weights(model)
        one_step(model, learning_rate=1.0, **options)
        return float(np.sqrt(sum(np.square(weights(model)[name] - before[name]).sum() for name in before)))

    whole = length()
    assert length(clip_norm=limit) == pytest.approx(min(whole, limit), rel=1e-3)
    assert whole > 0.1


@pytest.mark.parametrize(("mode", "batch_norm"), [("graph", False), ("graph", True), ("xla", True)])
def test_bfloat16_keeps_float32_weights_and_logits_and_learns(mode: CompileMode, batch_norm: bool) -> None:
    exact, rough, (images, labels) = mlp(batch_norm=batch_norm), mlp(batch_norm=batch_norm), batches(1)
    assert rough.forward(tf.zeros([2, 6, 6], tf.bfloat16)).dtype == tf.float32
    losses = []
    for model, precision in ((exact, "float32"), (rough, "bfloat16")):
        steps = compiled(model, Adam(model.parameters, 0.01), mode, precision=precision)
        losses.append([float(steps(images, labels, 1)[3]) for _ in range(40)])
    assert {variable.dtype for variable in rough.named_variables().values()} == {tf.float32}
    assert losses[1][0] == pytest.approx(losses[0][0], rel=0.03)
    assert losses[1][0] != losses[0][0]  # it was computed with fewer digits
    assert losses[1][-1] < 0.5 * losses[1][0]


# The loop


@pytest.mark.parametrize("mode", MODES)
def test_a_block_equals_its_steps_one_by_one(mode: CompileMode) -> None:
    images, labels = batches(5)
    together, apart = mlp(dropout=0.5), mlp(dropout=0.5)
    total, correct, done, last = compiled(together, Adam(together.parameters), mode)(images, labels, 5)
    steps = compiled(apart, Adam(apart.parameters), mode)
    parts = [[x.numpy() for x in steps(images[i : i + 1], labels[i : i + 1], 1)] for i in range(5)]
    assert_equal(weights(together), weights(apart))
    assert (int(correct), int(done)) == (sum(part[1] for part in parts), 5)
    assert float(total) == sum(part[0] for part in parts)
    assert float(last) == parts[-1][3]


@pytest.mark.parametrize("mode", MODES)
def test_the_losses_of_the_steps_change_nothing(mode: CompileMode) -> None:
    images, labels = batches(5)
    logged, plain = mlp(dropout=0.5), mlp(dropout=0.5)
    step = partial(train_step, logged, Adam(logged.parameters), fused=mode != "xla", loss=Objective())
    *results, losses = make_steps(step, mode, log_losses=True)(images, labels, 4)
    expected = compiled(plain, Adam(plain.parameters), mode)(images, labels, 4)
    assert_equal(weights(logged), weights(plain))
    assert [x.numpy() for x in results] == [x.numpy() for x in expected]
    assert losses.dtype == tf.float32 and losses.shape == [5]
    assert losses[3] == results[3] and losses[4] == 0
    assert 8 * losses.numpy().astype(np.float64).sum() == pytest.approx(float(results[0]), rel=1e-12)
    assert len(set(losses.numpy().tolist())) == 5


@pytest.mark.parametrize("mode", MODES)
def test_rows_beyond_the_count_change_nothing(mode: CompileMode) -> None:
    images, labels = (x.numpy() for x in batches(4))
    model = mlp(batch_norm=True)
    optimizer = SGD(model.parameters, 0.1)
    steps, start = compiled(model, optimizer, mode), weights(model)
    assert [int(x) for x in steps(tf.constant(images), tf.constant(labels), 0)[:3]] == [0, 0, 0]
    assert_equal(weights(model), start)
    results = []
    for filling in (0, 255):
        images[2:], labels[2:] = filling, filling % 2
        for name, variable in model.named_variables().items():
            variable.assign(start[name])
        total, correct, done, _ = steps(tf.constant(images), tf.constant(labels), 2)
        results.append((float(total), int(correct), int(done), weights(model)))
    assert results[0][:3] == results[1][:3] and results[0][2] == 2
    assert_equal(results[0][3], results[1][3])
    assert int(optimizer.step.numpy()) == 4


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_the_loop_stops_at_a_loss_that_is_not_finite(mode: CompileMode, bad: float) -> None:
    calls = tf.Variable(tf.constant(0))

    def step(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        number = calls.assign_add(1)
        return tf.where(number == 3, bad, 1.5), tf.constant(2, tf.int64)

    *_, done, last = make_steps(step, mode)(*batches(5), 5)
    assert (int(done), int(calls.numpy())) == (3, 3)
    np.testing.assert_equal(float(last), bad)


@pytest.mark.parametrize("mode", MODES)
def test_sums_are_over_examples(mode: CompileMode) -> None:
    steps = make_steps(lambda images, labels: (tf.constant(0.1), tf.constant(3, tf.int64)), mode)
    total, correct, done, last = steps(*batches(7, batch=4), 6)
    assert [x.dtype for x in (total, correct, done, last)] == [tf.float64, tf.int64, tf.int64, tf.float32]
    assert float(total) == pytest.approx(6 * 4 * float(np.float32(0.1)), rel=1e-12)
    assert (int(correct), int(done)) == (18, 6)


@pytest.mark.parametrize("mode", ["graph", "xla"])
def test_each_shape_is_traced_once(mode: CompileMode) -> None:
    traced: list[tuple[int | None, ...]] = []

    def step(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        traced.append(tuple(images.shape.as_list()))
        return tf.reduce_mean(tf.cast(images, tf.float32)), tf.reduce_sum(labels)

    steps = make_steps(step, mode)
    for count in (0, 1, 4, 4):
        steps(*batches(4), count)
    steps(*batches(1, batch=3), 1)
    steps(*batches(4, seed=1), 3)
    assert traced == [(8, 6, 6), (3, 6, 6)]


# WeightAverage


def test_averages_follow_the_weights_by_the_formula() -> None:
    model = mlp()
    averages = WeightAverage(model, decay=0.25)
    name = "dense_1/kernel"
    expected = weights(model)[name].astype(np.float64)
    for step in range(1, 5):
        model.named_variables()[name].assign_add(tf.ones([36, 10]))
        averages.update(tf.constant(step, tf.int64))
        decay = min(0.25, (1 + step) / (10 + step))  # 2/11, then 0.25 from the second step on
        expected = decay * expected + (1 - decay) * weights(model)[name]
        np.testing.assert_allclose(averages.named_variables()[name].numpy(), expected, rtol=1e-5)


def test_statistics_of_batch_norm_are_averaged_along() -> None:
    model = mlp(batch_norm=True)
    averages = WeightAverage(model, decay=0.9)
    assert list(averages.named_variables()) == list(model.named_variables())
    assert_equal({name: v.numpy() for name, v in averages.named_variables().items()}, weights(model))
    start = weights(model)["batch_norm_1/mean"]
    one_step(model, averages=averages)
    moved = weights(model)["batch_norm_1/mean"]
    assert np.abs(moved - start).max() > 0
    results = averages.named_variables()["batch_norm_1/mean"].numpy()
    np.testing.assert_allclose(results, 2 / 11 * start + 9 / 11 * moved, rtol=1e-5)


def test_averages_do_not_change_the_training() -> None:
    plain, averaged = mlp(), mlp()
    compiled(plain, Adam(plain.parameters), "graph")(*batches(5), 5)
    averages = WeightAverage(averaged, decay=0.9)
    compiled(averaged, Adam(averaged.parameters), "graph", averages=averages)(*batches(5), 5)
    assert_equal(weights(plain), weights(averaged))
    assert not np.array_equal(averages.named_variables()["logits/bias"].numpy(), weights(plain)["logits/bias"])
    assert not any(variable.trainable for variable in averages.shadow)
