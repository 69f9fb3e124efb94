"""Recipes that distil: the teacher is found, checked, recorded, and learned from."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tfmnist
from tfmnist.errors import InputError
from tfmnist.recipe import Recipe
from tfmnist.runs.events import Run
from tfmnist.runs.result import Evaluation


@pytest.fixture(scope="module")
def student(recipe: Recipe, done: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    changes = {"distill.teacher": str(done.path), "distill.weight": 1.0, "train.seed": 3, "export.report": False}
    return tfmnist.run(recipe.replace(changes), tmp_path_factory.mktemp("teacher") / "student")


def test_a_student_agrees_with_its_teacher(student: Run, done: Run, recipe: Recipe, tmp_path: Path) -> None:
    changes = {"train.seed": 3, "export.report": False, "export.model": False}
    alone = tfmnist.run(recipe.replace(changes), tmp_path / "alone")
    teacher, taught, other = (tfmnist.open_run(run.path).predictions() for run in (done, student, alone))

    def distance(answers: Evaluation) -> float:
        return float(np.abs(answers.probabilities - teacher.probabilities).mean())

    assert distance(taught) < distance(other)


def test_the_teacher_is_recorded_by_its_place_and_digest(student: Run, done: Run, tmp_path: Path) -> None:
    distill = tfmnist.open_run(student.path).recipe.distill
    assert distill.teacher == str(done.path) and len(distill.teacher_sha256) == 64
    again = tfmnist.run(student.path / "recipe.toml", tmp_path / "again", progress=False)
    assert again.result["weights_sha256"] == student.result["weights_sha256"]
    card = tfmnist.load_exported(student.path).card
    assert card["recipe"]["distill"]["teacher"] == done.path.name


def test_a_stopped_run_resumes_with_its_teacher(student: Run, tmp_path: Path, leave_at: Callable[..., None]) -> None:
    recipe = tfmnist.open_run(student.path).recipe
    leave_at(recipe.replace({"train.log_steps": 1}), tmp_path / "run", 11)
    resumed = tfmnist.resume(tmp_path / "run", progress=False)
    assert resumed.result["weights_sha256"] == student.result["weights_sha256"]


def test_another_model_in_its_place_is_refused(student: Run, done: Run, recipe: Recipe, tmp_path: Path) -> None:
    recorded = tfmnist.open_run(student.path).recipe
    teacher = shutil.copytree(done.path / "model", tmp_path / "model")
    tfmnist.export(student.path, teacher)
    with pytest.raises(InputError, match=r"model/2: its digest is .* 'distill.teacher_sha256' says"):
        tfmnist.run(recorded.replace({"distill.teacher": str(teacher)}), tmp_path / "run")
    letters = tfmnist.export(tfmnist.MLP((28, 28), [4], 10), tmp_path / "letters", class_names=list("abcdefghij"))
    with pytest.raises(InputError, match=r"letters/1: reads 28x28 images of the classes a, b, .* expected a teacher"):
        tfmnist.run(recipe.replace({"distill.teacher": str(letters)}), tmp_path / "run")
    with pytest.raises(InputError, match="nothing"):
        tfmnist.run(recipe.replace({"distill.teacher": str(tmp_path / "nothing")}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_keys_without_a_teacher_have_no_effect() -> None:
    with pytest.raises(
        InputError, match=r"distill\.weight' is 0\.5 but has no effect because distill\.teacher is empty"
    ):
        Recipe.load("mlp").replace({"distill.weight": 0.5})
