"""Schedules: each against plain arithmetic, at the boundaries and past the end."""

import math
from collections.abc import Callable

import pytest
import tensorflow as tf

from tfmnist.errors import InputError
from tfmnist.nn.schedules import Schedule, constant, cosine, exponential, one_cycle, staircase, warmup
from tfmnist.recipe import Schedule as Section
from tfmnist.runs.build import make_schedule

STEPS = [0, 1, 9, 10, 11, 29, 30, 31, 50, 99, 100, 101, 10_000]


def at(schedule: Schedule, step: int) -> float:
    value = schedule(tf.constant(step, tf.int64))
    assert value.dtype == tf.float32
    assert value.shape == []
    return float(value)


def cycle(step: int) -> float:
    """From 0.2 · 0.1 to 0.2 in 30 of 100 steps, then down to 0.2 · 0.05."""
    progress = min(step / 100, 1)
    if progress <= 0.3:
        return 0.2 * (0.1 + 0.9 * progress / 0.3)
    return 0.2 * (1 - 0.95 * (progress - 0.3) / 0.7)


CASES: dict[str, tuple[Schedule, Callable[[int], float]]] = {
    "constant": (constant(0.2), lambda step: 0.2),
    "staircase": (staircase(0.2, 0.5, 10), lambda step: 0.2 * 0.5 ** (step // 10)),
    "exponential": (exponential(0.2, 0.5, 10), lambda step: 0.2 * 0.5 ** (step / 10)),
    "cosine": (
        cosine(0.2, 100, 0.05),
        lambda step: 0.2 * (0.05 + 0.95 * (1 + math.cos(math.pi * min(step / 100, 1))) / 2),
    ),
    "one_cycle": (one_cycle(0.2, 100, start=0.1, peak=0.3, end=0.05), cycle),
    "warmup": (
        warmup(staircase(0.2, 0.5, 10), 20),
        lambda step: 0.2 * min((step + 1) / 20, 1) * 0.5 ** (max(step - 20, 0) // 10),
    ),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", CASES)
def test_schedule_is_its_formula(kind: str, step: int) -> None:
    schedule, formula = CASES[kind]
    assert at(schedule, step) == pytest.approx(formula(step), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("xla", [False, True])
def test_schedule_runs_on_a_step_variable_inside_a_function(kind: str, xla: bool) -> None:
    schedule, formula = CASES[kind]
    step = tf.Variable(tf.zeros([], tf.int64))
    compiled = tf.function(lambda: schedule(step), autograph=False, jit_compile=xla)
    for value in (0, 10, 55, 200):
        step.assign(value)
        assert float(compiled()) == pytest.approx(formula(value), rel=1e-5, abs=1e-8)
    assert compiled.experimental_get_tracing_count() == 1


def test_ends_and_peaks_are_exact() -> None:
    assert at(cosine(0.2, 100), 0) == pytest.approx(0.2)
    assert at(cosine(0.2, 100), 100) == pytest.approx(0.0, abs=1e-8)
    assert at(one_cycle(0.2, 100), 0) == pytest.approx(0.02)
    assert (
        max(at(one_cycle(0.2, 100), step) for step in range(101)) == pytest.approx(0.2) == at(CASES["one_cycle"][0], 30)
    )
    assert at(one_cycle(0.2, 100), 100) == pytest.approx(0.0, abs=1e-8)


def test_no_schedule_falls_below_zero() -> None:
    for schedule in (cosine(0.2, 7), one_cycle(0.2, 7), one_cycle(0.006, 1290)):
        assert all(at(schedule, step) >= 0 for step in (5, 6, 7, 8, 1289, 1290, 1291))


def test_warmup_never_starts_at_zero_and_ends_where_the_schedule_begins() -> None:
    schedule = warmup(cosine(0.2, 10), 4)
    assert [at(schedule, step) for step in range(5)] == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.2])
    assert at(schedule, 9) == pytest.approx(at(cosine(0.2, 10), 5))
    plain = constant(0.2)
    assert warmup(plain, 0) is plain


def made(kind: str, step: int, steps_per_epoch: int = 10, epochs: int = 4, **keys: float) -> float:
    section = Section.model_validate({"kind": kind, **keys})
    return at(make_schedule(section, 0.2, steps_per_epoch, epochs), step)


def test_make_schedule_turns_epochs_into_steps() -> None:
    assert made("constant", 39) == pytest.approx(0.2)
    assert [made("step", step, every=2, factor=0.5) for step in (0, 19, 20, 39, 40)] == pytest.approx(
        [0.2, 0.2, 0.1, 0.1, 0.05]
    )
    assert made("step", 5, every=0.5, factor=0.5) == pytest.approx(0.1)
    assert made("step", 1, every=0.001, factor=0.5) == pytest.approx(0.1)  # at least one step
    assert made("exponential", 10, every=2, factor=0.25) == pytest.approx(0.1)
    assert made("cosine", 20) == pytest.approx(0.1)
    assert made("cosine", 40, end=0.1) == pytest.approx(0.02)
    assert [made("one_cycle", step, start=0.5, peak=0.25, end=0.1) for step in (0, 10, 40)] == pytest.approx(
        [0.1, 0.2, 0.02]
    )


def test_make_schedule_runs_the_shape_after_the_warmup() -> None:
    assert made("constant", 4, warmup=1) == pytest.approx(0.1)
    assert made("constant", 9, warmup=1) == pytest.approx(0.2)
    assert made("cosine", 10, warmup=1) == pytest.approx(0.2)
    assert made("cosine", 25, warmup=1) == pytest.approx(0.1)  # half of the 30 steps that are left
    assert made("cosine", 40, warmup=1) == pytest.approx(0.0, abs=1e-8)
    assert made("constant", 0, warmup=0.5) == pytest.approx(0.04)


def test_a_warmup_as_long_as_the_run_leaves_no_room_for_a_shape() -> None:
    with pytest.raises(InputError, match=r"'schedule.warmup' is 4.0 epochs of 4: expected fewer than 'train.epochs'"):
        made("cosine", 0, warmup=4)
    assert made("constant", 39, warmup=4) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: constant(0.0), "learning_rate must be positive, got 0.0"),
        (lambda: constant(-0.1), "learning_rate must be positive, got -0.1"),
        (lambda: constant(math.nan), "learning_rate must be positive, got nan"),
        (lambda: staircase(0.1, 0.0, 10), "factor must be positive"),
        (lambda: staircase(0.1, 0.5, 0), "every must be positive"),
        (lambda: exponential(0.1, -0.5, 10), "factor must be positive"),
        (lambda: exponential(0.1, 0.5, 0), "every must be positive"),
        (lambda: cosine(0.1, 0), "steps must be positive"),
        (lambda: cosine(-0.1, 10), "learning_rate must be positive"),
        (lambda: one_cycle(0.1, 0), "steps must be positive"),
        (lambda: one_cycle(0.1, 10, peak=1.0), "peak is 1.0: expected more than 0 and less than 1"),
        (lambda: one_cycle(0.1, 10, peak=0.0), "peak is 0.0: expected more than 0 and less than 1"),
    ],
)
def test_values_that_make_no_schedule_are_refused(make: Callable[[], Schedule], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        make()
