"""Optimizers: against the papers' formulas in plain numbers, fused or composed, eager or compiled."""

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from tfmnist.errors import InputError
from tfmnist.nn.optimizers import (
    OPTIMIZERS,
    SGD,
    Adam,
    AdamW,
    Momentum,
    Muon,
    Optimizer,
    RMSprop,
    clip_by_global_norm,
    muon_update,
    one_minus_power,
    orthogonal,
)
from tfmnist.nn.schedules import constant, staircase
from tfmnist.recipe import Optimizer as Section
from tfmnist.runs.build import make_optimizer

Array = NDArray[Any]
Slope = Callable[[Any], Any]

MODES = ["eager", "graph", "xla"]


# The rules as their papers print them, for floats or float64 arrays: each yields w after step 1, 2, ...


def sgd(w: Any, slope: Slope, rate: float) -> Iterator[Any]:
    while True:
        w = w - rate * slope(w)
        yield w


def momentum(w: Any, slope: Slope, rate: float, mu: float) -> Iterator[Any]:
    v = 0.0
    while True:
        v = mu * v - rate * slope(w)
        w = w + v
        yield w


def nesterov(w: Any, slope: Slope, rate: float, mu: float) -> Iterator[Any]:
    """Sutskever et al. 2013, eq. 3 and 4. What is stored, and yielded, is the point looked ahead to, w + μ v."""
    v = 0.0
    while True:
        v = mu * v - rate * slope(w + mu * v)
        w = w + v
        yield w + mu * v


def rmsprop(w: Any, slope: Slope, rate: float, rho: float, epsilon: float) -> Iterator[Any]:
    s = 0.0
    while True:
        g = slope(w)
        s = rho * s + (1 - rho) * g**2
        w = w - rate * g / (s + epsilon) ** 0.5
        yield w


def adam(
    w: Any, slope: Slope, rate: float, beta1: float, beta2: float, epsilon: float, decay: float = 0.0
) -> Iterator[Any]:
    m, v, t = 0.0, 0.0, 0
    while True:
        t += 1
        g = slope(w)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        w = w - rate * m_hat / (v_hat**0.5 + epsilon) - rate * decay * w
        yield w


Rule = Callable[[Any, Slope], Iterator[Any]]
Make = Callable[..., Optimizer]

RULES: dict[str, tuple[Make, Rule]] = {
    "sgd": (lambda p, **o: SGD(p, 0.1, **o), lambda w, f: sgd(w, f, 0.1)),
    "momentum": (lambda p, **o: Momentum(p, 0.1, momentum=0.8, **o), lambda w, f: momentum(w, f, 0.1, 0.8)),
    "nesterov": (
        lambda p, **o: Momentum(p, 0.05, momentum=0.8, nesterov=True, **o),
        lambda w, f: nesterov(w, f, 0.05, 0.8),
    ),
    "rmsprop": (
        lambda p, **o: RMSprop(p, 0.1, rho=0.8, epsilon=1e-3, **o),
        lambda w, f: rmsprop(w, f, 0.1, 0.8, 1e-3),
    ),
    "adam": (
        lambda p, **o: Adam(p, 0.1, beta1=0.8, beta2=0.95, epsilon=1e-3, **o),
        lambda w, f: adam(w, f, 0.1, 0.8, 0.95, 1e-3),
    ),
    "muon, of the logits": (
        lambda p, **o: Muon(p, 0.4, adam_rate=0.25, weight_decay=0.2, beta1=0.8, beta2=0.95, epsilon=1e-3, **o),
        lambda w, f: adam(w, f, 0.1, 0.8, 0.95, 1e-3, 0.2),
    ),
    "adamw": (
        lambda p, **o: AdamW(p, 0.1, weight_decay=0.2, beta1=0.8, beta2=0.95, epsilon=1e-3, **o),
        lambda w, f: adam(w, f, 0.1, 0.8, 0.95, 1e-3, 0.2),
    ),
}


def variable(values: Any, name: str = "w") -> tf.Variable:
    return tf.Variable(tf.constant(values, tf.float32), name=name)


def compiled(function: Callable[..., Any], mode: str) -> Callable[..., Any]:
    return function if mode == "eager" else tf.function(function, autograph=False, jit_compile=mode == "xla")


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("kind", RULES)
def test_first_three_steps_down_a_bowl(kind: str, fused: bool) -> None:
    """On w₁² + 3 w₂², from (1, -2): each number on its own, in plain floats."""
    make, rule = RULES[kind]
    w = variable([[1.0, -2.0]], "w")
    optimizer = make([w], fused=fused)
    paths = zip(rule(1.0, lambda w: 2 * w), rule(-2.0, lambda w: 6 * w))
    for step, expected in zip(range(1, 4), paths):
        optimizer.apply([w * [2.0, 6.0]])
        assert w.numpy()[0].tolist() == pytest.approx(expected, rel=1e-5)
        assert int(optimizer.step) == step


@pytest.mark.parametrize("fused", [True, False])
def test_steps_worked_out_on_paper(fused: bool) -> None:
    def after(make: Make, steps: int = 2) -> float:
        w = variable([[1.0]], "w")
        optimizer = make([w], fused=fused)
        for _ in range(steps):
            optimizer.apply([tf.constant([[2.0]])])
        return float(w[0, 0])

    assert after(lambda p, **o: SGD(p, 0.1, **o)) == pytest.approx(0.6)
    assert after(lambda p, **o: Momentum(p, 0.1, momentum=0.5, **o)) == pytest.approx(0.5)  # 0.2, then 0.3
    assert after(lambda p, **o: Momentum(p, 0.1, momentum=0.5, nesterov=True, **o)) == pytest.approx(0.35)
    assert after(lambda p, **o: RMSprop(p, 0.1, rho=0.75, **o), 1) == pytest.approx(0.8)  # 0.1 · 2 / sqrt(0.25 · 4)
    assert after(lambda p, **o: Adam(p, 0.1, **o)) == pytest.approx(0.8, rel=1e-5)  # 0.1 a step
    assert after(lambda p, **o: AdamW(p, 0.1, weight_decay=0.5, **o)) == pytest.approx(0.7075, rel=1e-5)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("kind", RULES)
def test_a_hundred_steps_follow_float64(kind: str, fused: bool) -> None:
    make, rule = RULES[kind]
    random = np.random.default_rng(0)
    start = random.normal(size=(4, 3))
    gradients = random.normal(size=(100, 4, 3)).astype(np.float32)
    w = tf.Variable(tf.constant(start, tf.float32), name="w")
    optimizer = make([w], fused=fused)
    step = tf.function(lambda g: optimizer.apply([g]), autograph=False)
    feed = iter(gradients.astype(np.float64))
    path = rule(start, lambda _: next(feed))
    expected = start
    for gradient in gradients:
        step(tf.constant(gradient))
        expected = next(path)
    np.testing.assert_allclose(w.numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", RULES)
def test_fused_and_composed_are_the_same_rule(kind: str, mode: str) -> None:
    make, _ = RULES[kind]
    random = np.random.default_rng(0)
    start = [random.normal(size=shape).astype(np.float32) for shape in ((5, 4), (4,))]
    gradients = [[random.normal(size=w.shape).astype(np.float32) for w in start] for _ in range(5)]

    def run(fused: bool) -> list[Array]:
        parameters = [variable(w, f"w{n}") for n, w in enumerate(start)]
        optimizer = make(parameters, fused=fused)
        step = compiled(lambda *g: optimizer.apply(g), mode)
        for pair in gradients:
            step(*(tf.constant(g) for g in pair))
        return [v.numpy() for v in [*parameters, *optimizer.named_variables().values()]]

    for one, other in zip(run(True), run(False), strict=True):
        np.testing.assert_allclose(one, other, rtol=5e-6, atol=1e-6)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("beta2", [0.9, 0.999, 0.99999])
def test_the_first_step_of_adam_has_the_length_of_the_learning_rate(beta2: float, fused: bool) -> None:
    w = variable([0.0, 0.0, 0.0])
    Adam([w], 0.1, beta2=beta2, fused=fused).apply([tf.constant([3.0, -0.01, 1000.0])])
    np.testing.assert_allclose(w.numpy(), [-0.1, 0.1, -0.1], rtol=2e-5)


@pytest.mark.parametrize("fused", [True, False])
def test_betas_of_zero_leave_the_sign_of_the_gradient(fused: bool) -> None:
    w = variable([1.0, 1.0])
    optimizer = Adam([w], 0.25, beta1=0.0, beta2=0.0, fused=fused)
    for _ in range(2):
        optimizer.apply([tf.constant([5.0, -0.5])])
    np.testing.assert_allclose(w.numpy(), [0.5, 1.5], rtol=1e-6)


def test_one_minus_power_does_not_cancel() -> None:
    for base in (0.5, 0.875, 1 - 2**-10, 1 - 2**-20):  # numbers that float32 has exactly
        for t in (1.0, 2.0, 1000.0):
            expected = -math.expm1(t * math.log(base))
            assert float(one_minus_power(base, tf.constant(t))) == pytest.approx(expected, rel=1e-6)
    assert float(one_minus_power(0.0, tf.constant(1.0))) == 1.0


def test_a_zero_gradient_moves_nothing_at_the_start() -> None:
    for make, _ in RULES.values():
        w = variable([1.0, 2.0], "w")
        make([w]).apply([tf.zeros(2)])
        assert w.numpy().tolist() == [1.0, 2.0]


@pytest.mark.parametrize("fused", [True, False])
def test_only_variables_of_two_axes_or_more_decay(fused: bool) -> None:
    parameters = [tf.Variable(tf.ones(shape), name=f"w{len(shape)}") for shape in ([2], [2, 2], [1, 1, 2, 2])]
    optimizer = AdamW(parameters, 0.1, weight_decay=0.5, fused=fused)
    optimizer.apply([tf.zeros_like(p) for p in parameters])
    assert [float(tf.reduce_mean(p)) for p in parameters] == pytest.approx([1.0, 0.95, 0.95])


def test_decay_does_not_enter_the_moments() -> None:
    w = variable([[1.0, 2.0]], "w")
    plain = variable([[1.0, 2.0]], "w")
    one, other = AdamW([w], 0.1, weight_decay=0.5), Adam([plain], 0.1)
    for _ in range(3):
        one.apply([tf.constant([[1.0, -1.0]])])
        other.apply([tf.constant([[1.0, -1.0]])])
    for slot in ("m", "v"):
        np.testing.assert_array_equal(one.slots[slot][0].numpy(), other.slots[slot][0].numpy())


@pytest.mark.parametrize("shape", [(12, 5), (5, 12), (6, 6), (1, 4)])
def test_orthogonal_keeps_directions_and_brings_lengths_near_one(shape: tuple[int, int]) -> None:
    left, _, right = np.linalg.svd(np.random.default_rng(1).normal(size=shape), full_matrices=False)
    lengths = np.geomspace(1.0, 0.1, len(right))
    found = orthogonal(tf.constant(left @ np.diag(lengths) @ right, tf.float32)).numpy()
    inner = left.T @ found @ right.T
    np.testing.assert_allclose(inner, np.diag(np.diagonal(inner)), atol=1e-4)
    assert np.diagonal(inner).min() > 0.6 and np.diagonal(inner).max() < 1.3
    rounded = orthogonal(tf.constant(left @ np.diag(lengths) @ right, tf.float32), tf.bfloat16).numpy()
    assert rounded.dtype == np.float32
    np.testing.assert_allclose(rounded, found, atol=0.1)
    assert not orthogonal(tf.zeros(shape)).numpy().any()


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_muon_moves_a_convolution_by_orthogonal_steps(mode: str, fused: bool) -> None:
    random = np.random.default_rng(0)
    start, gradients = random.normal(size=(3, 2, 4, 5)), random.normal(size=(4, 3, 2, 4, 5))
    kernel, bias = variable(start, "kernel"), variable(np.ones(5), "bias")
    optimizer = Muon([kernel, bias], 0.5, momentum=0.8, weight_decay=0.2, adam_rate=0.25, fused=fused)
    step = compiled(lambda *g: optimizer.apply(g), mode)
    expected, u = start, np.zeros_like(start)
    for gradient in gradients:
        step(tf.constant(gradient, tf.float32), tf.ones(5))
        u = 0.8 * u + gradient
        matrix = tf.constant((gradient + 0.8 * u).reshape(24, 5), tf.float32)
        expected = (1 - 0.5 * 0.2) * expected - 0.5 * orthogonal(matrix).numpy().reshape(start.shape)
    np.testing.assert_allclose(kernel.numpy(), expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(bias.numpy(), 1 - 4 * 0.25 * 0.5, rtol=1e-4)  # Adam's steps, in one direction
    names = optimizer.named_variables(["kernel", "bias"])
    np.testing.assert_allclose(names["m/kernel"].numpy(), u, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_muon_moves_hidden_dense_kernels_by_orthogonal_steps_and_those_of_the_logits_by_adam(
    mode: str, fused: bool
) -> None:
    random = np.random.default_rng(0)
    start = random.normal(size=(30, 20))
    hidden, bias, logits = (
        variable(start, "hidden"),
        variable(np.ones(20), "bias"),
        variable(np.ones((20, 3)), "logits"),
    )
    optimizer = Muon([hidden, bias, logits], 0.5, momentum=0.8, weight_decay=0.2, adam_rate=0.25, fused=fused)
    step = compiled(lambda *g: optimizer.apply(g), mode)
    adam = variable(np.ones((20, 3)), "adam")
    reference = AdamW([adam], 0.125, weight_decay=0.2, fused=False)
    expected, u = start, np.zeros_like(start)
    for _ in range(4):
        gradient, last = random.normal(size=(30, 20)), tf.constant(random.normal(size=(20, 3)), tf.float32)
        step(tf.constant(gradient, tf.float32), tf.ones(20), last)
        reference.apply([last])
        u = 0.8 * u + gradient
        matrix = tf.constant(gradient + 0.8 * u, tf.float32)
        expected = (1 - 0.5 * 0.2) * expected - 0.5 * orthogonal(matrix).numpy()
    np.testing.assert_allclose(hidden.numpy(), expected, atol=0.1)  # its products are in bfloat16
    np.testing.assert_allclose(logits.numpy(), adam.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(bias.numpy(), 1 - 4 * 0.125, rtol=1e-4)
    np.testing.assert_allclose(optimizer.slots["m"][0].numpy(), u, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_clipping_leaves_small_gradients_and_shortens_large_ones(mode: str) -> None:
    gradients = [np.array([3.0, 0.0], np.float32), np.array([[0.0], [4.0]], np.float32)]  # their norm is 5

    def clipped(limit: float) -> list[Array]:
        clip = compiled(lambda *g: clip_by_global_norm(g, limit), mode)
        return [g.numpy() for g in clip(*(tf.constant(g) for g in gradients))]

    for limit in (5.0, 5.1, 1e6):
        assert all(np.array_equal(a, b) for a, b in zip(clipped(limit), gradients))
    for a, b in zip(clipped(0.5), gradients):
        np.testing.assert_allclose(a, b / 10, rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_clipping_hides_no_gradient_that_is_not_finite(bad: float, mode: str) -> None:
    clip = compiled(lambda *g: clip_by_global_norm(g, 1.0), mode)
    first, second = clip(tf.constant([bad, 1.0]), tf.constant([[2.0]]))
    assert not np.isfinite(first.numpy()).all()
    if math.isnan(bad):
        assert np.isnan(first).all()
        assert np.isnan(second).all()


@pytest.mark.parametrize("mode", MODES)
def test_clipping_does_not_turn_gradients_whose_norm_overflows_into_zeros(mode: str) -> None:
    clip = compiled(lambda *g: clip_by_global_norm(g, 1.0), mode)
    (gradient,) = clip(tf.constant([1e20, 1e20]))  # the sum of the squares is infinite in float32
    assert np.any(gradient.numpy())


@pytest.mark.parametrize("mode", ["graph", "xla"])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("kind", RULES)
def test_the_learning_rate_changes_within_one_trace(kind: str, fused: bool, mode: str) -> None:
    make, _ = RULES[kind]

    def path(mode: str) -> tuple[list[float], Any]:
        w = variable([0.0], "w")
        optimizer = make([w], fused=fused)
        optimizer.schedule = staircase(1.0, 0.5, 2)
        step = compiled(lambda: optimizer.apply([tf.constant([1.0])]), mode)
        points = []
        for _ in range(4):
            step()
            points.append(float(w[0]))
        return points, step

    plain, _ = path("eager")
    points, step = path(mode)
    assert points == pytest.approx(plain, rel=1e-5)
    assert step.experimental_get_tracing_count() == 1


def test_a_schedule_is_read_at_the_number_of_steps_done() -> None:
    w = variable([0.0])
    optimizer = SGD([w], staircase(1.0, 0.5, 2))
    step = tf.function(lambda: optimizer.apply([tf.constant([1.0])]), autograph=False)
    path = []
    for _ in range(6):
        step()
        path.append(-float(w[0]))
    assert path == [1.0, 2.0, 2.5, 3.0, 3.25, 3.5]
    optimizer.step.assign(0)
    step()
    assert -float(w[0]) == 4.5


@pytest.mark.parametrize("kind", RULES)
def test_all_slots_exist_after_the_constructor(kind: str) -> None:
    make, _ = RULES[kind]
    parameters = [tf.Variable(tf.ones([3, 2]), name="dense_1/kernel"), tf.Variable(tf.ones([2]), name="dense_1/bias")]
    optimizer = make(parameters)
    named = optimizer.named_variables()
    slots = {"sgd": (), "rmsprop": ("mean_square", "last_step"), "momentum": ("momentum",), "nesterov": ("momentum",)}
    expected = [f"{slot}/dense_1/{p}" for slot in slots.get(kind, ("m", "v")) for p in ("kernel", "bias")]
    assert list(named) == ["step", *expected]
    assert named["step"].dtype == tf.int64
    for name in expected:
        assert named[name].shape == ([3, 2] if name.endswith("kernel") else [2])
        assert not named[name].numpy().any()
    before = {id(v) for v in optimizer.variables}
    optimizer.apply([tf.ones([3, 2]), tf.ones([2])])
    own = {id(v) for v in named.values()} | {id(p) for p in parameters}
    assert {id(v) for v in optimizer.variables} == before == own


@pytest.mark.parametrize("kind", RULES)
def test_restored_slots_continue_the_run_exactly(kind: str) -> None:
    make, _ = RULES[kind]
    gradients = np.random.default_rng(0).normal(size=(6, 2, 2)).astype(np.float32)

    def start() -> tuple[tf.Variable, Optimizer]:
        w = variable([[1.0, 2.0], [3.0, 4.0]], "w")
        return w, make([w])

    w, optimizer = start()
    for gradient in gradients[:3]:
        optimizer.apply([tf.constant(gradient)])
    other, restored = start()
    other.assign(w)
    for name, slot in restored.named_variables().items():
        slot.assign(optimizer.named_variables()[name])
    for gradient in gradients[3:]:
        optimizer.apply([tf.constant(gradient)])
        restored.apply([tf.constant(gradient)])
    assert w.numpy().tobytes() == other.numpy().tobytes()


def test_one_gradient_a_parameter_is_demanded() -> None:
    with pytest.raises(ValueError, match="zip"):
        SGD([variable([1.0]), variable([2.0])], 0.1).apply([tf.constant([1.0])])


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda w: SGD(w, -0.1), "learning_rate must be positive, got -0.1"),
        (lambda w: Adam(w, 0.0), "learning_rate must be positive, got 0.0"),
        (lambda w: Adam(w, math.nan), "learning_rate must be positive, got nan"),
        (lambda w: Momentum(w, momentum=1.0), "momentum must be at least 0 and less than 1, got 1.0"),
        (lambda w: Momentum(w, momentum=-0.1), "momentum must be at least 0 and less than 1, got -0.1"),
        (lambda w: RMSprop(w, rho=1.5), "rho must be at least 0 and less than 1, got 1.5"),
        (lambda w: RMSprop(w, epsilon=0.0), "epsilon must be positive, got 0.0"),
        (lambda w: Adam(w, beta1=1.0), "beta1 must be at least 0 and less than 1, got 1.0"),
        (lambda w: Adam(w, beta2=math.nan), "beta2 must be at least 0 and less than 1, got nan"),
        (lambda w: Adam(w, epsilon=0.0), "epsilon must be positive, got 0.0"),
        (lambda w: AdamW(w, beta2=1.0), "beta2 must be at least 0 and less than 1, got 1.0"),
        (lambda w: AdamW(w, weight_decay=-0.5), "weight_decay must not be negative, got -0.5"),
    ],
)
def test_values_that_make_no_optimizer_are_refused(
    make: Callable[[list[tf.Variable]], Optimizer], complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        make([variable([1.0])])


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_make_optimizer_passes_every_key(kind: Any) -> None:
    section = Section(
        kind=kind,
        momentum=0.5,
        nesterov=True,
        rho=0.6,
        beta1=0.7,
        beta2=0.8,
        epsilon=1e-4,
        weight_decay=0.3,
        adam_rate=0.2,
    )
    schedule = constant(0.1)
    parameters = [variable([[1.0]], "w")]
    optimizer: Any = make_optimizer(section, parameters, schedule)
    assert type(optimizer) is OPTIMIZERS[kind]
    assert (optimizer.schedule, optimizer.parameters) == (schedule, parameters)
    moments = {"beta1": 0.7, "beta2": 0.8, "epsilon": 1e-4}
    expected: dict[str, dict[str, Any]] = {
        "sgd": {},
        "momentum": {"momentum": 0.5, "nesterov": True},
        "rmsprop": {"rho": 0.6, "epsilon": 1e-4},
        "adam": moments,
        "adamw": {**moments, "weight_decay": 0.3},
        "muon": {**moments, "weight_decay": 0.3, "momentum": 0.5, "adam_rate": 0.2},
    }
    assert {key: getattr(optimizer, key) for key in expected[kind]} == pytest.approx(expected[kind])


def test_slot_names_are_a_tuple_not_the_letters_of_one() -> None:
    class OneSlot(SGD):
        slot_names = "momentum"  # type: ignore[assignment]

    with pytest.raises(InputError, match="slot_names is 'momentum': expected a tuple of names"):
        OneSlot([tf.Variable(tf.ones([2]))])


def test_defaults_are_the_documented_ones() -> None:
    def defaults(kind: type[Optimizer]) -> dict[str, Any]:
        parameters = inspect.signature(kind).parameters.values()
        return {one.name: one.default for one in parameters if one.default is not inspect.Parameter.empty}

    assert defaults(SGD) == {"learning_rate": 0.001, "fused": True}
    assert defaults(Momentum)["momentum"] == 0.9 and defaults(AdamW)["weight_decay"] == 0.01
    assert {name: defaults(Muon)[name] for name in ("learning_rate", "weight_decay", "fused")} == {
        "learning_rate": 0.04,
        "weight_decay": 0.01,
        "fused": True,
    }
    assert inspect.signature(orthogonal).parameters["iterations"].default == 3
    assert not SGD([tf.Variable(tf.zeros([2]))]).step.trainable


def test_parameters_of_one_name_are_refused() -> None:
    parameters = [tf.Variable(tf.zeros([2]), name="w") for _ in range(2)]
    with pytest.raises(InputError, match=r"parameters have the names \['w', 'w'\]: expected a unique name for each"):
        SGD(parameters).named_variables()
    assert SGD(parameters).named_variables(["a", "b"])


def test_muon_rounds_the_products_of_dense_kernels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    types: list[tf.DType] = []

    def record(matrix: tf.Tensor, dtype: tf.DType = tf.float32) -> tf.Tensor:
        types.append(dtype)
        return matrix

    monkeypatch.setattr("tfmnist.nn.optimizers.orthogonal", record)
    for shape in ([6, 4], [3, 3, 2, 4]):
        muon_update(tf.ones(shape), tf.zeros(shape), tf.constant(0.1), 0.9)
    assert types == [tf.bfloat16, tf.float32]
