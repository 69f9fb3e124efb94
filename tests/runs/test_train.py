"""Runs from start to finish: repeated, stopped, resumed, diverged, started from another."""

import errno
import json
import math
import re
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfmnist
from tfmnist.recipe import Recipe, shipped_recipes
from tfmnist.runs import session
from tfmnist.runs.evaluate import plan_evaluation
from tfmnist.runs.events import Run, Started
from tfmnist.runs.folder import is_trained
from tfmnist.runs.report import write_report
from tfmnist.runs.result import Divergence, Result
from tfmnist.runs.saved import find_model
from tfmnist.runs.train import resume_events, run_events
from tfmnist.system.files import read_npz, write_npz
from tfmnist.training.evaluation import outputs
from tfmnist.training.events import Epoch, Progress


def test_again_gives_the_same_weights(done: Run, tmp_path: Path) -> None:
    again = tfmnist.run(done.path / "recipe.toml", tmp_path / "b")
    assert again.result["weights_sha256"] == done.result["weights_sha256"]
    changes = {"train.seed": 1, "export.model": False, "export.report": False}
    other = tfmnist.run(Recipe.load_run(done.path).replace(changes), tmp_path / "c")
    assert other.result["weights_sha256"] != done.result["weights_sha256"]


def test_fewer_epochs_resumed_to_more_equal_all_at_once(done: Run, recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "run"
    first = tfmnist.run(recipe.replace({"train.epochs": 1, "export.report": False}), path)
    longer = tfmnist.resume(path, epochs=3)
    assert longer.result["weights_sha256"] == done.result["weights_sha256"] != first.result["weights_sha256"]
    assert Recipe.load_run(path) == recipe.replace({"export.report": False})
    assert longer.result["model"] == "model/2" and (path / "model/1/saved_model.pb").is_file()
    assert tfmnist.resume(path).result == longer.result
    with pytest.raises(tfmnist.InputError, match="has begun 3 epochs"):
        tfmnist.resume(path, epochs=2)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", ["Evaluation.write", "write_npz", "make_card", "Result.write"])
def test_a_run_that_is_killed_when_trained_further_is_not_finished_until_it_is_resumed(
    done: Run, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def kill(*_: Any) -> None:
        raise Killed

    path = tmp_path / "run"
    short = recipe.replace({"train.epochs": 1, "export.report": False})
    first = tfmnist.run(short, path)
    with monkeypatch.context() as patched:
        patched.setattr(f"tfmnist.runs.session.{moment}", kill)
        with pytest.raises(Killed):
            tfmnist.resume(path, epochs=3)
    for use in (lambda: tfmnist.export(path, tmp_path / "model"), lambda: write_report(path)):
        with pytest.raises(tfmnist.InputError, match=r"not finished|resume"):
            use()
    assert not (path / "result.json").exists()
    again = tfmnist.resume(path)
    assert again.result["weights_sha256"] == done.result["weights_sha256"] != first.result["weights_sha256"]
    assert again.result["test_accuracy"] == done.result["test_accuracy"]


@pytest.mark.parametrize("moment", ["link_latest", "write_report", None])
def test_the_report_of_a_run_that_was_trained_further_is_never_the_old_one(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str | None
) -> None:
    def kill(*_: Any) -> None:
        raise Killed

    path = tmp_path / "run"
    tfmnist.run(recipe.replace({"train.epochs": 1, "export.report": True, "export.model": False}), path)
    assert (path / "report.html").is_file()
    if moment:
        with monkeypatch.context() as patched:
            patched.setattr(f"tfmnist.runs.session.{moment}", kill)
            with pytest.raises(Killed):
                tfmnist.resume(path, epochs=3)
        assert (path / "result.json").is_file() and not (path / "report.html").exists()
        result = tfmnist.resume(path).result
    else:
        result = tfmnist.resume(path, epochs=3).result
    assert result["epochs"] == 3
    assert f"{100 * result['test_accuracy']:.2f}" in (path / "report.html").read_text(encoding="utf-8")


def test_a_run_that_is_killed_after_its_export_does_not_export_again(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: Any) -> None:
        raise Killed

    path = tmp_path / "run"
    quick = recipe.replace({"train.epochs": 1, "export.report": False})
    with monkeypatch.context() as patched:
        patched.setattr(Result, "write", kill)
        with pytest.raises(Killed):
            tfmnist.run(quick, path)
    assert tfmnist.resume(path).result["model"] == "model/1"
    labels = path / "model" / "1" / "assets" / "labels.txt"
    labels.write_bytes(labels.read_bytes().swapcase() + b"x")
    Result.delete(path)
    assert tfmnist.resume(path).result["model"] == "model/2", "a damaged version is not the result of a run"


@pytest.mark.parametrize("fault", ["full", "gone"])
def test_a_full_disk_and_a_folder_that_disappears_are_named(
    fault: str, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"

    def save(*_: Any) -> None:
        if fault == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        path.rename(tmp_path / "moved")
        (path / "checkpoints").mkdir()

    with monkeypatch.context() as patched:
        patched.setattr(session, "save_checkpoint", save)
        with pytest.raises(tfmnist.TfmnistError) as caught:
            tfmnist.run(recipe.replace({"export.report": False}), path, progress=False)
    message, reason = str(caught.value), "the disk is full; free some space" if fault == "full" else "the run folder is"
    assert message.startswith(f"{path}: {reason}") and "\n" not in message
    resumed = tfmnist.resume(path if fault == "full" else tmp_path / "moved", progress=False)
    assert resumed.result["epochs"] == 3


@pytest.mark.parametrize("name", ["result.json", "weights.npz", "metrics.jsonl", "evaluation.npz"])
def test_a_damaged_file_of_a_finished_run_is_written_again(name: str, done: Run, tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(done.path, path)
    whole = (path / name).read_bytes()
    (path / name).write_bytes(whole.replace(b"1", b"2", 1)[:-1])
    opened = tfmnist.open_run(path)
    with pytest.raises(tfmnist.InputError, match=rf"{name}: damaged: .*writes it again"):
        _ = opened.history, opened.predictions(), opened.network
    again = tfmnist.resume(path)
    assert again.result["files"] == done.result["files"]
    assert name == "result.json" or (path / name).read_bytes() == whole


def test_a_finished_run_that_is_resumed_stays_finished(recipe: Recipe, tmp_path: Path) -> None:
    run = tfmnist.run(recipe.replace({"train.epochs": 1, "export.report": False}), tmp_path / "run")
    events = resume_events(run.path)
    next(events)
    events.close()
    assert Result.find(run.path)


def test_a_run_is_shown_unless_its_caller_wants_silence(
    recipe: Recipe, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    short = recipe.replace({"train.epochs": 1, "export.model": False, "export.report": False})
    tfmnist.run(short, tmp_path / "shown")
    tfmnist.resume(tmp_path / "shown", epochs=2)
    out, errors = capfd.readouterr()
    assert errors == "" and out.count("\ntest accuracy ") == 2 and "\nresumed  at epoch 2 of 2\n" in out
    assert re.findall(r"^ +(\d/\d) ", out, re.MULTILINE) == ["1/1", "2/2"]
    tfmnist.run(short, tmp_path / "silent", progress=False)
    tfmnist.resume(tmp_path / "silent", epochs=2, progress=False)
    assert capfd.readouterr() == ("", "")


def test_a_loop_over_the_events_can_be_left_and_resumed(done: Run, recipe: Recipe, tmp_path: Path) -> None:
    recipe = recipe.replace({"export.model": False, "export.report": False})
    (tmp_path / "own.toml").write_text(recipe.to_toml(), encoding="utf-8")
    for event in run_events(tmp_path / "own.toml", tmp_path / "run"):
        if isinstance(event, Epoch):
            break
    *_, last = resume_events(tmp_path / "run")
    assert isinstance(last, Run) and last.result["weights_sha256"] == done.result["weights_sha256"]


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_stopped_anywhere_and_resumed_equals_uninterrupted(kind: str, recipe: Recipe, tmp_path: Path) -> None:
    layers = ("conv 4 3x3 /2", "max 2", "global average", "dense 8")
    common = {
        "export.report": False,
        "export.model": False,
        "augment.shift": 1.5,
        "train.average": 0.9,
        "train.patience": 5,
    }
    network = {"model.kind": kind, "model.layers": layers} if kind == "cnn" else {}
    chosen = recipe.replace({**network, "model.batch_norm": True, "model.dropout": 0.2})
    chosen = chosen.replace({**common, "optimizer.kind": "rmsprop", "schedule.kind": "cosine", "train.epochs": 2})
    whole = tfmnist.run(chosen, tmp_path / "whole")
    path, stop = tmp_path / "run", threading.Event()
    stops = 0
    for start in range(12):
        events = resume_events(path, stop=stop) if start else run_events(chosen, path, stop)
        stop.clear()
        try:
            for event in events:
                if isinstance(event, Progress | Epoch):
                    stop.set()
        except tfmnist.Interrupted as error:
            stops += 1
            assert error.exit_code == 75 and f"tfmnist train --resume {path}" in str(error)
    assert stops == 7  # 2 epochs of 3 + 3 + 1 full batches and a short one, and the last block is the end
    assert json.loads((path / "result.json").read_text())["weights_sha256"] == whole.result["weights_sha256"]
    mine, theirs = ((p / "metrics.jsonl").read_text().splitlines() for p in (path, tmp_path / "whole"))
    for ours, others in zip(map(json.loads, mine), map(json.loads, theirs), strict=True):
        timed = ("seconds", "images_per_second")
        assert {k: v for k, v in ours.items() if k not in timed} == {k: v for k, v in others.items() if k not in timed}


def test_a_damaged_checkpoint_is_passed_over(recipe: Recipe, done: Run, tmp_path: Path) -> None:
    path = tmp_path / "run"
    tfmnist.run(recipe.replace({"train.epochs": 2, "export.report": False, "export.model": False}), path)
    newest = path / "checkpoints/step-00000016.npz"
    newest.write_bytes(newest.read_bytes()[:-1000])
    events = list(resume_events(path, epochs=3))
    assert isinstance(events[0], Started) and "step-00000016.npz" in events[0].notes[0]
    assert isinstance(events[-1], Run) and events[-1].result["weights_sha256"] == done.result["weights_sha256"]


def test_a_diverged_run_names_its_last_good_checkpoint(recipe: Recipe, tmp_path: Path) -> None:
    wild = {"optimizer.kind": "sgd", "optimizer.learning_rate": 1e30, "export.report": False, "export.model": False}
    with pytest.raises(tfmnist.DivergedError, match=r"epoch 1, step \d+ of 8, learning rate 1e\+30.*none yet"):
        tfmnist.run(recipe.replace(wild), tmp_path / "run")
    # Grows from epoch to epoch, so that the first one is good and a later one is not.
    wild |= {"optimizer.learning_rate": 0.1, "train.epochs": 30, "schedule.kind": "constant", "schedule.warmup": 30.0}
    wild |= {"optimizer.learning_rate": 1e37}
    path = tmp_path / "later"
    with pytest.raises(tfmnist.DivergedError):
        tfmnist.run(recipe.replace(wild), path)
    assert not (path / "result.json").exists() and not (path / "model").exists()


def test_a_diverged_run_says_so_until_it_is_resumed(recipe: Recipe, tmp_path: Path) -> None:
    wild = {"optimizer.kind": "sgd", "optimizer.learning_rate": 1e30, "export.report": False, "export.model": False}
    path = tmp_path / "run"
    with pytest.raises(tfmnist.DivergedError):
        tfmnist.run(recipe.replace(wild), path)
    asked = (lambda: tfmnist.export(path, tmp_path / "x"), lambda: find_model(path), lambda: write_report(path))
    for ask in (*asked, lambda: plan_evaluation(path), lambda: tfmnist.open_run(path).result):
        with pytest.raises(tfmnist.InputError) as caught:
            ask()
        message = str(caught.value)
        assert message.startswith(f"{path}: diverged: ") and message.isprintable() and "--resume" not in message
        assert " at epoch 1, step " in message and "lower optimizer.learning_rate" in message
        assert "Start a new run" in message
    assert tfmnist.open_run(path).recipe == recipe.replace(wild) and tfmnist.open_run(path).history == []
    (path / "recipe.toml").write_text(recipe.replace({"train.epochs": 1, "export.report": False}).to_toml())
    events = resume_events(path)
    next(events)
    assert Divergence.find(path) is None
    *_, done = events
    assert isinstance(done, Run) and find_model(path) == path / "model/1"


def test_a_test_loss_that_is_not_finite_diverges_too(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def infinite(*arguments: Any, **keywords: Any) -> Any:
        found = outputs(*arguments, **keywords)
        return found._replace(metrics=replace(found.metrics, loss=math.inf))

    quick = recipe.replace({"train.epochs": 1, "export.report": False, "export.model": False, "data.validation": 0})
    for _ in run_events(quick, tmp_path / "run", evaluate_test=False):
        pass
    assert is_trained(tmp_path / "run")
    monkeypatch.setattr(session, "outputs", infinite)
    with pytest.raises(tfmnist.DivergedError, match=r"the test loss is inf after epoch 1, the last; lower .*step-0000"):
        tfmnist.resume(tmp_path / "run")
    assert not is_trained(tmp_path / "run"), "it would be evaluated again and again"
    with pytest.raises(tfmnist.InputError, match="diverged: the test loss is inf after epoch 1"):
        tfmnist.export(tmp_path / "run", tmp_path / "model")


def test_bad_data_leaves_no_folder(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(tfmnist.InputError, match="does not exist"):
        tfmnist.run(recipe.replace({"data.source": str(tmp_path / "nothing")}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_in_use_is_left_alone(done: Run, recipe: Recipe) -> None:
    before = (done.path / "result.json").read_bytes()
    with pytest.raises(tfmnist.InputError, match=r"already exists and is not empty.*--resume"):
        tfmnist.run(recipe, done.path)
    assert (done.path / "result.json").read_bytes() == before


def test_a_resume_that_could_not_be_exact_is_refused(recipe: Recipe, small: Path, tmp_path: Path) -> None:
    quick = recipe.replace({"train.epochs": 2, "export.report": False, "export.model": False})
    stop = threading.Event()
    stop.set()
    with pytest.raises(tfmnist.Interrupted):
        list(run_events(quick.replace({"schedule.kind": "cosine"}), tmp_path / "cosine", stop))
    with pytest.raises(tfmnist.InputError, match=r"cosine schedule depends on train\.epochs"):
        tfmnist.resume(tmp_path / "cosine", epochs=3)
    arrays = dict(np.load(small))
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises(tfmnist.Interrupted):
        list(run_events(quick.replace({"data.source": str(tmp_path / "own.npz")}), tmp_path / "run", stop))
    np.savez(tmp_path / "own.npz", **{**arrays, "x_train": 255 - arrays["x_train"]})
    with pytest.raises(tfmnist.InputError, match="has changed since the run began"):
        tfmnist.resume(tmp_path / "run")
    np.savez(tmp_path / "own.npz", **arrays)
    assert tfmnist.resume(tmp_path / "run").result["epochs"] == 2


def moved(run: Path, data: Path, *, old: str = "") -> None:
    """Resumes a run with its data elsewhere; with `old`, as a checkpoint of version 0.1, with that digest."""
    if old:
        newest = max((run / "checkpoints").iterdir())
        arrays = dict(np.load(newest))
        state = json.loads(str(arrays["state"])) | {"data_sha256": old}
        write_npz(newest, {**arrays, "state": np.array(json.dumps(state))})
    done = tfmnist.resume(run, data=data, progress=False)
    assert done.result["data"]["source"] == Recipe.load_run(run).data.source == str(data)
    assert tfmnist.open_run(run).result.data.source == str(data)


def test_data_may_move_if_their_digest_is_the_same(recipe: Recipe, small: Path, tmp_path: Path) -> None:
    first, second, run, stop = tmp_path / "first.npz", tmp_path / "second.npz", tmp_path / "run", threading.Event()
    shutil.copy(small, first)
    quick = {"train.epochs": 2, "export.report": False, "export.model": False}
    stop.set()
    with pytest.raises(tfmnist.Interrupted):
        list(run_events(recipe.replace({**quick, "data.source": str(first)}), run, stop))
    shutil.copytree(run, tmp_path / "old")
    whole = tfmnist.run(recipe.replace(quick), tmp_path / "whole", progress=False)
    first.rename(second)
    with pytest.raises(tfmnist.InputError, match=r"first\.npz"):
        tfmnist.resume(run)
    moved(run, second)
    assert tfmnist.open_run(run).result.weights_sha256 == whole.result["weights_sha256"]
    second.rename(first)
    moved(run, first)  # also of a finished run
    assert plan_digest(run) == whole.result["data"]["sha256"]
    moved(tmp_path / "old", first, old=tfmnist.load(first, validation=100).train.sha256)


def plan_digest(run: Path) -> str:
    """The digest of the data that a finished run names."""
    data = tfmnist.open_run(run).recipe.data
    return tfmnist.load(data.source, validation=data.validation).sha256


@pytest.mark.parametrize("part", ["x_train", "y_train", "shape", "validation", "x_test", "y_test"])
def test_other_data_are_refused_and_nothing_changes(part: str, recipe: Recipe, small: Path, tmp_path: Path) -> None:
    run, stop, arrays = tmp_path / "run", threading.Event(), dict(np.load(small))
    if part in ("x_test", "y_test"):  # which is not read before the end
        tfmnist.run(recipe.replace({"train.epochs": 1, "export.model": False}), run, progress=False)
    else:
        stop.set()
        with pytest.raises(tfmnist.Interrupted):
            list(run_events(recipe, run, stop))
    if part == "shape":
        arrays |= {name: arrays[name][:, 2:] for name in ("x_train", "x_test")}
    elif part == "validation":
        rows = tfmnist.load(small, validation=100).validation.rows
        arrays["x_train"][rows] = 255 - arrays["x_train"][rows]
    else:
        arrays[part] = np.roll(arrays[part], 1, axis=0)
    np.savez(tmp_path / "other.npz", **arrays)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(tfmnist.InputError, match=r"other\.npz (is not|does not look like)"):
        tfmnist.resume(run, data=tmp_path / "other.npz")
    with pytest.raises(tfmnist.InputError, match="does not exist"):
        tfmnist.resume(run, data=tmp_path / "nowhere")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(tfmnist.InputError, match=r"small\.npz is not the data of its checkpoints, by digest; give"):
        tfmnist.resume(run, data=small)


def test_a_folder_belongs_to_one_process(recipe: Recipe, tmp_path: Path) -> None:
    events: Any = run_events(recipe, tmp_path / "run")
    next(events)
    with pytest.raises(tfmnist.InputError, match="another process is training there"):
        list(resume_events(tmp_path / "run"))
    events.close()


@pytest.mark.parametrize("name", [name for name in shipped_recipes() if name != "mlp-as-printed"])
def test_a_shipped_recipe_learns(name: str, small: Path, tmp_path: Path) -> None:
    changes = {"data.source": str(small), "data.validation": 0, "export.model": False, "export.report": False}
    recipe = Recipe.load(name).replace({**changes, "train.epochs": 3, "train.compile": "graph"})
    run = tfmnist.run(recipe, tmp_path / "run")
    losses = [json.loads(line)["loss"] for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.9 * losses[0]


def test_the_recipe_as_printed_says_why_it_cannot_learn(small: Path, tmp_path: Path) -> None:
    recipe = Recipe.load("mlp-as-printed").replace({"data.source": str(small), "data.validation": 0})
    with pytest.raises(tfmnist.DivergedError) as caught:
        tfmnist.run(recipe.replace({"train.compile": "graph"}), tmp_path / "run")
    assert caught.value.exit_code == 1
    message = str(caught.value)
    assert message.isprintable()
    for part in (
        "the loss is nan at epoch 1, step 1 of 6, learning rate 0.001, initial weights of standard deviation 1",
        "lower optimizer.learning_rate",
        "model.initializer he",
        "loss.kind cross_entropy",
        "Last good checkpoint: none yet",
    ):
        assert part in message
    assert not (tmp_path / "run/result.json").exists()


@pytest.fixture(scope="module")
def plain(recipe: Recipe) -> Recipe:
    """Quick, and with batch normalisation, whose statistics move without a gradient."""
    changes = {"model.batch_norm": True, "export.model": False, "export.report": False, "train.epochs": 1}
    return recipe.replace({**changes, "train.block": "auto"})


@pytest.fixture(scope="module")
def first(plain: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tfmnist.run(plain, tmp_path_factory.mktemp("first") / "run")


@pytest.fixture(scope="module")
def onward(plain: Recipe, first: Run) -> Recipe:
    """Two of the classes, from the first run's weights, with all but the last layer kept."""
    frozen = {"model.freeze": ["dense_*", "batch_norm_1"], "data.only": ["7", "3"], "data.validation": 20}
    return plain.replace({**frozen, "model.init_from": str(first.path), "train.batch_size": 16})


def test_a_run_starts_from_another_with_a_new_last_layer(first: Run, onward: Recipe, tmp_path: Path) -> None:
    started, *_, done = run_events(onward, tmp_path / "run")
    assert isinstance(started, Started) and isinstance(done, Run)
    digest = first.result["weights_sha256"]
    assert f"from {first.path}, weights {digest[:12]}" in started.notes
    assert "frozen dense_1, batch_norm_1" in started.notes
    before, after = (read_npz(run.path / "weights.npz") for run in (first, done))
    kept = ["dense_1/kernel", *(f"batch_norm_1/{name}" for name in ("scale", "offset", "mean", "variance"))]
    assert list(after) == [*kept, "logits/kernel", "logits/bias"]
    for name in kept:
        assert before[name].tobytes() == after[name].tobytes(), name
    assert after["logits/kernel"].shape == (16, 2) and after["logits/bias"].any()
    assert done.result["data"]["class_names"] == ["7", "3"]
    assert done.result["parameters"] == 784 * 16 + 2 * 16 + 16 * 2 + 2  # those of frozen layers included

    written = Recipe.load_run(done.path)
    assert (written.model.init_from, written.model.init_sha256) == (str(first.path), digest)
    assert written.changed_from(onward) == ["model.init_sha256"]
    again = tfmnist.run(done.path / "recipe.toml", tmp_path / "again")
    assert again.result["weights_sha256"] == done.result["weights_sha256"]


def test_for_the_same_classes_the_last_layer_is_the_same(first: Run, plain: Recipe, tmp_path: Path) -> None:
    still = {"optimizer.learning_rate": 1e-30, "model.freeze": ["batch_norm_1"], "train.seed": 5}
    link = tmp_path / "latest"
    link.symlink_to(first.path)
    done = tfmnist.run(plain.replace({**still, "model.init_from": str(link)}), tmp_path / "run")
    assert done.result["weights_sha256"] == first.result["weights_sha256"]
    assert Recipe.load_run(done.path).model.init_from == str(first.path.resolve())  # the link will point elsewhere


def test_a_transferred_run_is_resumed_without_the_first(first: Run, onward: Recipe, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(first.path, source)
    longer = onward.replace({"model.init_from": str(source), "train.epochs": 2, "train.block": 1})
    whole = tfmnist.run(longer, tmp_path / "whole")
    stop = threading.Event()
    stop.set()
    with pytest.raises(tfmnist.Interrupted):
        list(run_events(longer, tmp_path / "run", stop))
    shutil.rmtree(source)
    done = tfmnist.resume(tmp_path / "run")
    assert done.result["weights_sha256"] == whole.result["weights_sha256"]
    assert Recipe.load_run(done.path) == Recipe.load_run(whole.path)
    with pytest.raises(tfmnist.InputError, match=r"result\.json: missing"):
        tfmnist.run(done.path / "recipe.toml", tmp_path / "again")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model.init_sha256": "ab" * 32}, r"its weights are .*, recipe key 'model\.init_sha256' says abababababab"),
        ({"model.hidden": [17]}, r"its dense_1/kernel is \[784, 16\], the recipe's \[784, 17\]"),
        ({"model.batch_norm": False, "model.freeze": []}, r"its dense_1/bias is missing, the recipe's \[16\]"),
        ({"model.init_from": "/nothing"}, "/nothing/result.json: missing"),
        ({"model.freeze": ["dense_2"]}, "'dense_2': no layer matches; did you mean 'dense_1'"),
        ({"model.freeze": ["*"]}, "no layer is left to train"),
        ({"data.only": ["7", "seven"]}, "'seven': no such class"),
        ({"data.per_class": 500}, r"'data\.per_class' is 500: class '7' has \d+ training examples"),
    ],
)
def test_a_start_that_does_not_fit_leaves_no_folder(
    changes: dict[str, Any], expected: str, onward: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(tfmnist.InputError, match=expected) as caught:
        tfmnist.run(onward.replace(changes), tmp_path / "run")
    assert str(caught.value).isprintable()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("length", [0, 5, 18, 73, 74, 200])
def test_a_recipe_that_is_cut_is_named_by_report_and_resume(done: Run, tmp_path: Path, length: int) -> None:
    path = tmp_path / "run"
    shutil.copytree(done.path, path)
    whole = (path / "recipe.toml").read_bytes()
    for content in (whole[:length], b"#" + whole[2:], whole.partition(b"\n")[2]):
        (path / "recipe.toml").write_bytes(content)
        with pytest.raises(tfmnist.InputError, match=r"recipe.toml: "):
            write_report(path)
    (path / "recipe.toml").write_bytes(whole[:length])
    with pytest.raises(tfmnist.InputError, match=r"recipe.toml: "):
        tfmnist.resume(path)


def test_checkpoints_by_time_resume_within_an_epoch(recipe: Recipe, done: Run, tmp_path: Path, leave_at: Any) -> None:
    often = recipe.replace({"train.checkpoint_minutes": 1e-9, "train.log_steps": 1})
    leave_at(often, tmp_path / "often", 14)  # eight steps per epoch, three per block
    steps = [path.name for path in (tmp_path / "often/checkpoints").iterdir()]
    assert sorted(steps) == ["step-00000008.npz", "step-00000011.npz"]  # the end of the epoch is kept too
    leave_at(recipe.replace({"train.checkpoint_minutes": 60, "train.log_steps": 1}), tmp_path / "rarely", 14)
    assert [path.name for path in (tmp_path / "rarely/checkpoints").iterdir()] == ["step-00000008.npz"]
    resumed = tfmnist.resume(tmp_path / "often", progress=False)
    assert resumed.result["weights_sha256"] == done.result["weights_sha256"]
