"""A run's folder: what can be told of it without TensorFlow."""

from pathlib import Path

from tfmnist.recipe import Recipe
from tfmnist.run_folder import is_trained
from tfmnist.runs import resume, run_events


def test_a_run_is_trained_between_its_last_epoch_and_its_judgement(small: Path, tmp_path: Path) -> None:
    keys = {"data.source": str(small), "data.validation": 100, "model.hidden": [8], "train.compile": "graph"}
    events = run_events(Recipe().replace({**keys, "train.epochs": 2}), tmp_path / "run", judged=False)
    found = [(type(event).__name__, is_trained(tmp_path / "run")) for event in events]
    assert found == [("Started", False), ("Epoch", False), ("Epoch", True), ("Trained", True)]
    *_, newest = sorted((tmp_path / "run" / "checkpoints").iterdir())
    resume(tmp_path / "run")
    assert not is_trained(tmp_path / "run") and not is_trained(tmp_path)
    (tmp_path / "run" / "result.json").unlink()
    newest.write_bytes(b"damaged")
    assert not is_trained(tmp_path / "run")


def test_patience_that_has_run_out_ends_a_training(small: Path, tmp_path: Path) -> None:
    keys = {"data.source": str(small), "data.validation": 100, "model.hidden": [8], "train.compile": "graph"}
    keys |= {"train.epochs": 50, "train.patience": 1, "optimizer.kind": "sgd", "optimizer.learning_rate": 1e-30}
    *_, last = run_events(Recipe().replace(keys), tmp_path / "run", judged=False)
    assert is_trained(tmp_path / "run") and getattr(last, "epochs", 50) < 50
