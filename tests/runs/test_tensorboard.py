"""What TensorBoard reads from a run, and that the run is the same with it and without."""

import io
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfmnist
from tfmnist.recipe import Recipe
from tfmnist.runs.events import Run
from tfmnist.runs.result import Evaluation, Inspection, read_history, read_weights
from tfmnist.runs.step_log import StepLog
from tfmnist.runs.train import resume_events, run_events
from tfmnist.system.files import read_npz
from tfmnist.training.events import Epoch, StepLoss

Values = dict[str, dict[int, Any]]


def read(run: Path, part: str) -> Values:
    """What the event files of a part hold, by tag and step; nothing may be there twice."""
    values: Values = {}
    for path in sorted((run / "tensorboard" / part).glob("events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                steps = values.setdefault(value.tag, {})
                assert event.step not in steps, f"{part}: {value.tag} at step {event.step} twice"
                steps[event.step] = tf.make_ndarray(value.tensor)
    return values


def picture(values: Values, tag: str) -> Image.Image:
    """The only picture under a tag."""
    ((width, height, png),) = values[tag].values()
    image = Image.open(io.BytesIO(png))
    assert image.size == (int(width), int(height))
    return image


@pytest.fixture(scope="module")
def chosen(recipe: Recipe) -> Recipe:
    changes = {"augment.rotate": 10.0, "train.log_steps": 3, "export.report": False, "export.model": False}
    return recipe.replace({**changes, "train.tensorboard": True})


@pytest.fixture(scope="module")
def shown(chosen: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of 24 steps, 8 per epoch, that was not interrupted."""
    return tfmnist.run(chosen, tmp_path_factory.mktemp("shown") / "run")


def test_scalars_of_epochs_and_steps(shown: Run) -> None:
    history, train = read_history(shown.path), read(shown.path, "train")
    for key in ("loss", "accuracy", "learning_rate", "images_per_second"):
        expected = {row["step"]: np.float32(row[key]) for row in history}
        assert list(expected) == [8, 16, 24] and train[f"epoch/{key}"] == expected
    validation = read(shown.path, "validation")
    for key in ("loss", "accuracy"):
        assert validation[f"epoch/{key}"] == {row["step"]: np.float32(row[f"validation_{key}"]) for row in history}
    steps = StepLog(shown.path).read()
    assert train["step/loss"] == {row.step: np.float32(row.loss) for row in steps}
    assert train["step/learning_rate"] == {row.step: np.float32(row.learning_rate) for row in steps}
    test = read(shown.path, "test")
    assert test["epoch/accuracy"] == {24: np.float32(shown.test_accuracy)}
    assert test["epoch/loss"] == {24: np.float32(shown.result["test_loss"])}


def test_a_histogram_of_every_weight_after_each_epoch(shown: Run) -> None:
    train, last = read(shown.path, "train"), read_npz(shown.path / "checkpoints/step-00000024.npz")
    for name in read_weights(shown.path):
        array = last[f"weights/{name}"]  # not the averages
        assert list(train[name]) == [8, 16, 24]
        buckets = train[name][24]  # left edge, right edge, count
        assert buckets[:, 2].sum() == array.size
        assert buckets[0, 0] == pytest.approx(array.min()) and buckets[-1, 1] == pytest.approx(array.max())
        assert not np.array_equal(train[name][8], buckets)


def test_augmented_pictures_are_those_of_the_report(shown: Run) -> None:
    image = np.array(picture(read(shown.path, "train"), "augmented pictures"))
    inspection = Inspection.read(shown.path)
    assert inspection and inspection.originals is not None and inspection.augmented is not None
    assert image.shape == (3 * 30, 9 * 30)
    np.testing.assert_array_equal(image[31:59, 1:29], inspection.originals[1])
    np.testing.assert_array_equal(image[61:89, 241:269], inspection.augmented[2, 7])
    assert (image[30] == 128).all()


def test_the_confusion_matrix_is_a_picture(shown: Run) -> None:
    image = picture(read(shown.path, "test"), "confusion matrix")
    assert image.mode == "RGB" and min(image.size) > 500
    assert len(Evaluation.read(shown.path).labels) == 200
    grey = np.array(image)[..., 0] == 0xE3  # the diagonal
    assert grey.sum() > 10 * 40 * 40


def test_plugins_find_their_data(shown: Run) -> None:
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    runs = EventMultiplexer().AddRunsFromDirectory(str(shown.path / "tensorboard")).Reload()
    assert set(runs.Runs()) == {"train", "validation", "test"}
    plugins = {
        (run, tag): runs.SummaryMetadata(run, tag).plugin_data.plugin_name
        for run, kinds in runs.Runs().items()
        for tag in kinds["tensors"]
    }
    assert plugins["train", "epoch/loss"] == plugins["validation", "epoch/loss"] == plugins["train", "step/loss"]
    assert plugins["train", "step/loss"] == "scalars" and plugins["train", "dense_1/kernel"] == "histograms"
    assert plugins["train", "augmented pictures"] == plugins["test", "confusion matrix"] == "images"


def test_the_run_is_the_same_without_it(shown: Run, chosen: Recipe, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "tfmnist.runs.tensorboard", None)  # importing it is an error
    monkeypatch.delattr("tfmnist.runs.tensorboard", raising=False)
    run = tfmnist.run(chosen.replace({"train.tensorboard": False, "train.log_steps": 0}), tmp_path / "run")
    assert run.result["weights_sha256"] == shown.result["weights_sha256"]
    assert not (run.path / "tensorboard").exists()


def test_without_the_package_one_line_says_what_to_install(chosen: Recipe, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.delitem(sys.modules, "tfmnist.runs.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard.plugins.hparams", None)
    with pytest.raises(tfmnist.InputError, match=r"^train\.tensorboard needs .* pip install 'tfmnist\[tensorboard\]'$"):
        tfmnist.run(chosen, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("steps", [3, 15, 21])
def test_a_killed_run_goes_on_where_its_checkpoint_is(
    steps: int, cut: bool, chosen: Recipe, shown: Run, tmp_path: Path, leave_at: Any
) -> None:
    leave_at(chosen, tmp_path / "run", steps)
    assert max(read(tmp_path / "run", "train")["step/loss"]) == steps
    for path in (tmp_path / "run/tensorboard").rglob("events.*"):
        content = path.read_bytes()
        path.write_bytes(content[:-5] if cut and path.parent.name == "train" else content)
    list(resume_events(tmp_path / "run"))
    for part in ("train", "validation", "test"):
        ours, theirs = read(tmp_path / "run", part), read(shown.path, part)
        assert {tag: list(values) for tag, values in ours.items()} == {tag: list(v) for tag, v in theirs.items()}
        for tag in theirs.keys() - {"epoch/images_per_second"}:
            for step, value in theirs[tag].items():
                np.testing.assert_array_equal(ours[tag][step], value)


def test_stopped_between_checkpoint_and_result_the_test_is_shown_once(chosen: Recipe, tmp_path: Path) -> None:
    run = tfmnist.run(chosen.replace({"train.epochs": 1}), tmp_path / "run")
    (run.path / "result.json").unlink()
    again = tfmnist.resume(run.path)
    assert list(read(run.path, "test")["epoch/loss"]) == [8] == [again.result["steps"]]
    stop = threading.Event()
    stop.set()
    with pytest.raises(tfmnist.Interrupted):
        list(resume_events(run.path, epochs=2, stop=stop))
    assert list(read(run.path, "train")["step/loss"]) == [3, 6, 9]


def test_without_validation_and_augmentation_there_is_less(chosen: Recipe, tmp_path: Path) -> None:
    less = {"data.validation": 0, "augment.rotate": 0.0, "train.log_steps": 0, "train.epochs": 1}
    for event in run_events(chosen.replace(less), tmp_path / "run", evaluate_test=False):
        assert not isinstance(event, StepLoss)
        if isinstance(event, Epoch):
            assert list(read(tmp_path / "run", "train")["epoch/loss"]) == [event.step]  # at once
    assert [path.name for path in (tmp_path / "run/tensorboard").iterdir()] == ["train"]
    assert not any(tag.startswith(("step", "augmented")) for tag in read(tmp_path / "run", "train"))
