"""How many threads are chosen, and that a process keeps what it began with."""

import subprocess
import sys
from typing import Any

import pytest

from tfmnist.recipe import Recipe
from tfmnist.system.machine import processors
from tfmnist.training.threads import choose_threads, threads_set


@pytest.mark.parametrize(
    ("name", "changes", "small"),
    [
        ("online-mlp", {}, True),
        ("sigmoid-mlp", {}, True),
        ("sigmoid-mlp", {"train.batch_size": 100}, False),
        ("mlp", {}, False),
        ("cnn", {"train.batch_size": 1}, False),
    ],
)
def test_auto_goes_by_the_size_of_a_step(name: str, changes: dict[str, Any], small: bool) -> None:
    recipe = Recipe.load(name).replace(changes)
    assert choose_threads(recipe, (28, 28), 10) == (1 if small else processors())


def test_what_is_asked_for_holds() -> None:
    assert choose_threads(Recipe.load("online-mlp").replace({"train.threads": 7}), (28, 28), 10) == 7


def test_an_absurd_number_is_read_but_not_used() -> None:
    recipe = Recipe.load("mlp").replace({"train.threads": 100_000})
    assert recipe.train.threads == 100_000
    assert choose_threads(recipe, (28, 28), 10) == max(64, processors())


def test_a_number_of_threads_is_set_before_tensorflow_computes_and_kept_after() -> None:
    program = (
        "import tensorflow as tf; from tfmnist.training.threads import *\n"
        "set_threads(3); tf.constant(1) + 1; set_threads(3); set_threads(5); print(threads_set())"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout == "3\n"
    assert threads_set() >= 1
