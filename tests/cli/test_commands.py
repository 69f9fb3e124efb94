"""Every command on one small run: what it prints, as text and as JSON, and what it writes."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tfmnist
from tfmnist.artifacts import exported
from tfmnist.artifacts.exported import Exported
from tfmnist.recipe import shipped_recipes
from tfmnist.runs.train import run_events

Command = Callable[..., tuple[int, str, str]]
Complaint = Callable[..., str]

LOADED: dict[Path, Exported] = {}


@pytest.fixture(autouse=True)
def _load_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model is loaded once for all tests, not for every command."""
    monkeypatch.setattr(exported, "Exported", lambda path: LOADED.setdefault(path, Exported(path)))


# evaluate


def test_evaluate(trained: Path, small: Path, command: Command) -> None:
    result = json.loads((trained / "result.json").read_text())
    code, out, errors = command("evaluate", trained)
    assert code == 0 and errors == "" and f"accuracy {result['test_accuracy']:.2%}" in out
    evaluation = json.loads(command("evaluate", trained / "model", "--data", small, "--json")[1])
    assert evaluation["accuracy"] == result["test_accuracy"] and evaluation["count"] == 200
    assert (evaluation["model"], evaluation["data"]) == (str(trained / "model/1"), str(small))
    assert evaluation["split"] == "test"
    assert [row["class"] for row in evaluation["per_class"]] == [str(n) for n in range(10)]


def test_models_that_cannot_be_evaluated(trained: Path, tmp_path: Path, complaint: Complaint) -> None:
    tfmnist.export(trained, tmp_path / "model")
    card = tmp_path / "model/1/assets.extra/model_card.json"
    card.write_text(card.read_text().replace("mlp", "nlp"))
    errors = complaint("evaluate", tmp_path / "model")
    assert "model_card.json" in errors and "damaged" in errors
    (tmp_path / "empty").mkdir()
    assert "holds no exported model" in complaint("evaluate", tmp_path / "empty")


def write_photos(folder: Path, split: tfmnist.Split) -> Path:
    """Class folders of MNIST's images on paper, and in the class 0 a blank page."""
    for index, (image, label) in enumerate(zip(split.images, split.labels)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - image).save(folder / str(label) / f"{index}.png")
    Image.new("L", (90, 60), 240).save(folder / "0" / "blank.png")
    return folder


def test_evaluate_photos(trained: Path, small: Path, tmp_path: Path, command: Command) -> None:
    test = tfmnist.load(small, validation=0).test
    split = tfmnist.Split(test.images[:40], test.labels[:40])
    folder = write_photos(tmp_path / "photos", split)
    correct = int(np.sum(tfmnist.load_exported(trained).predict(split.images).classes == split.labels))
    code, out, errors = command("evaluate", trained, "--data", folder, "--photos")
    assert code == 0 and errors == ""
    lines = out.splitlines()
    assert lines[0] == f"{trained / 'model/1'} on {folder}, all"
    assert lines[1] == "note: no test part in the data: all of it is evaluated"
    assert lines[2].startswith(f"accuracy {correct / 41:.2%}, {correct} of 41 photos (95 % interval ")
    assert lines[3] == "1 not read, which count as wrong"
    assert lines[4].startswith(f"  {folder / '0' / 'blank.png'}: no digit found in it; ")
    assert lines[5:7] == ["", "The photos that were read:"] and f"{correct} of 40" in lines[7]
    code, out, errors = command("evaluate", trained, "--data", folder, "--photos", "--json")
    evaluation = json.loads(out)
    assert code == 0 and errors == "" and evaluation["data"] == str(folder) and evaluation["split"] == "all"
    assert (evaluation["count"], evaluation["correct"], evaluation["accuracy"]) == (41, correct, correct / 41)
    ((reason, count),) = evaluation["refused"].items()
    assert reason.startswith("no digit found") and count == 1
    assert evaluation["read"]["count"] == 40 and len(evaluation["read"]["per_class"]) == 10


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "--photos needs labelled photos; name their folder with --data FOLDER"),
        (["--data", "mnist"], "mnist: has no photos, expected class folders of them"),
        (["--data", "SMALL"], "small.npz: has no photos, expected class folders"),
        (["--data", "nowhere"], "'nowhere' does not exist"),
        (["--data", "EMPTY"], "has no photos, expected class folders"),
    ],
)
def test_photos_are_named(
    words: list[str], expected: str, trained: Path, small: Path, tmp_path: Path, complaint: Complaint
) -> None:
    places = {"SMALL": str(small), "EMPTY": str(tmp_path)}
    assert expected in complaint("evaluate", trained, "--photos", *(places.get(word, word) for word in words))


# predict


def drawing(path: Path, *images: Any, side: int = 28) -> Path:
    """A photo of digits, so to speak: dark on light, five times as large, side by side."""
    ink = np.concatenate([np.pad(image, ((8, 8), (side // 4, side // 4))) for image in images], axis=1)
    Image.fromarray(255 - np.kron(ink, np.ones([5, 5], np.uint8))).save(path)
    return path


def test_predict(trained: Path, small: Path, tmp_path: Path, command: Command) -> None:
    test = tfmnist.load(small, validation=0).test
    paths = [tmp_path / f"{index}.png" for index in range(8)]
    for path, image in zip(paths, test.images):
        Image.fromarray(image).save(path)
    Image.fromarray(255 - test.images[0]).save(tmp_path / "on paper.png")
    code, out, errors = command("predict", trained, *paths, tmp_path / "on paper.png", "--json")
    assert code == 0 and errors == ""
    rows = [json.loads(line) for line in out.splitlines()]
    expected = tfmnist.load_exported(trained).predict(test.images[:8])
    assert [row["class"] for row in rows] == [str(n) for n in [*expected.classes, expected.classes[0]]]
    assert [row["image"] for row in rows[:8]] == list(map(str, paths))
    for row, probabilities in zip(rows, expected.probabilities):
        assert set(row) == {"image", "class", "probability", "sure", "runner_up", "probabilities"} and row["sure"]
        assert list(row["probabilities"].values()) == pytest.approx(probabilities.tolist(), abs=1e-6)
        best, second = np.argsort(-probabilities)[:2]
        assert row["probability"] == row["probabilities"][str(best)]
        assert row["runner_up"] == {"class": str(second), "probability": row["probabilities"][str(second)]}


@pytest.mark.parametrize(("own", "threads"), [({}, "1"), ({"TF_NUM_INTRAOP_THREADS": "2"}, "2")])
def test_predict_computes_in_one_thread(own: dict[str, str], threads: str, trained: Path, tmp_path: Path) -> None:
    Image.new("L", (90, 60), 240).save(tmp_path / "blank.png")
    code = "import os, sys; from tfmnist.cli.main import main; main(sys.argv[1:])"
    code += "; print(os.environ['TF_NUM_INTRAOP_THREADS'])"
    command = [sys.executable, "-c", code, "predict", str(trained), str(tmp_path / "blank.png")]
    environment = {name: value for name, value in os.environ.items() if name != "TF_NUM_INTRAOP_THREADS"} | own
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == f"{threads}\n" and "no digit found" in done.stderr


def test_predict_says_how_sure_it_is_and_what_came_second(
    trained: Path, small: Path, tmp_path: Path, command: Command
) -> None:
    test = tfmnist.load(small, validation=0).test
    path = drawing(tmp_path / "large.png", test.images[0])
    code, out, errors = command("predict", trained, path, "--show", tmp_path / "shown.png")
    assert code == 0 and errors == ""
    assert re.fullmatch(rf"{path}: \d  \d+\.\d%  \(then \d, \d+\.\d%\)\n", out)
    with Image.open(tmp_path / "shown.png") as shown:
        assert shown.format == "PNG" and min(shown.size) > 100


def test_predict_says_which_answers_are_not_sure(trained: Path, small: Path, tmp_path: Path, command: Command) -> None:
    code, out, errors = command("export", trained, tmp_path / "model", "--threshold", "1", "--temperature", "3")
    assert (code, out, errors) == (0, f"{tmp_path / 'model/1'}\n", "")
    path = drawing(tmp_path / "large.png", tfmnist.load(small, validation=0).test.images[0])
    out = command("predict", tmp_path / "model", path)[1]
    assert re.fullmatch(rf"{path}: \d  \d+\.\d%  \(then \d, \d+\.\d%\)  not sure\n", out)
    assert json.loads(command("predict", tmp_path / "model", path, "--json")[1])["sure"] is False
    number = json.loads(command("predict", tmp_path / "model", path, "--split-digits", "--json")[1])
    assert [digit["sure"] for digit in number["digits"]] == [False]
    assert "sure from  a probability of 100.00%" in command("info", tmp_path / "model")[1]


def test_pictures_that_cannot_be_read_do_not_hide_those_that_can(
    trained: Path, small: Path, tmp_path: Path, command: Command
) -> None:
    test = tfmnist.load(small, validation=0).test
    good, two = drawing(tmp_path / "good.png", test.images[0]), drawing(tmp_path / "two.png", *test.images[1:3])
    blank, text, cut = tmp_path / "blank.png", tmp_path / "bad.txt", tmp_path / "cut.png"
    Image.new("RGB", (90, 60), (250, 248, 240)).save(blank)
    text.write_text("a text")
    cut.write_bytes(good.read_bytes()[:300])
    bad = {
        blank: "no digit found in it",
        text: "not a PNG, JPEG, BMP, GIF, TIFF or WebP picture",
        two: "several digits found in it, expected one; crop it, or read a number with --split-digits",
        tmp_path / "none.png": "cannot read the picture: No such file",
        cut: "a damaged PNG, JPEG, BMP or GIF",
    }
    for options in ((), ("--json",)):
        code, out, errors = command("predict", trained, good, *bad, good, *options)
        assert code == 2 and out.count("\n") == 2
        assert all(str(good) in line for line in out.splitlines())
        assert len(errors.splitlines()) == len(bad)
        for line, (path, expected) in zip(errors.splitlines(), bad.items()):
            assert line.startswith(f"tfmnist: {path}: {expected}") and line.isprintable()


def test_a_folder_is_read_file_by_file(
    trained: Path, small: Path, tmp_path: Path, command: Command, complaint: Complaint
) -> None:
    test = tfmnist.load(small, validation=0).test
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    names = ["1.bmp", "2.gif", "3.jpg", "4.png", "5.tiff", "6.webp"]
    for name in names:
        drawing(folder / name, test.images[0])
    (folder / ".hidden").touch()
    code, out, errors = command("predict", trained, folder)
    assert code == 0 and errors == ""
    assert [line.split(": ")[0] for line in out.splitlines()] == [str(folder / name) for name in names]
    assert len({line.split(": ")[1].split()[0] for line in out.splitlines()}) == 1, "the same digit in every kind"
    (folder / "notes.txt").write_text("a text")
    code, out, errors = command("predict", trained, folder, folder / "1.bmp")
    assert code == 2 and out.count("\n") == 7
    assert errors.startswith(f"tfmnist: {folder / 'notes.txt'}: not a PNG") and errors.count("\n") == 1
    assert "no files in this folder, expected pictures" in complaint("predict", trained, folder / "deeper")


def test_a_number_is_read_digit_by_digit(trained: Path, small: Path, tmp_path: Path, command: Command) -> None:
    test = tfmnist.load(small, validation=0).test
    path = drawing(tmp_path / "number.png", *test.images[:3])
    show = tmp_path / "shown.png"
    code, out, errors = command("predict", trained, path, "--split-digits", "--show", show, "--json")
    assert code == 0 and errors == ""
    row = json.loads(out)
    assert set(row) == {"image", "number", "digits"} and row["image"] == str(path)
    assert re.fullmatch(r"\d\d\d", row["number"])
    assert [digit["class"] for digit in row["digits"]] == list(row["number"])
    with Image.open(show) as shown:
        assert shown.format == "PNG"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a.png", "b.png", "--show", "c.png"], "--show c.png: expected a .png file, for one picture (2 given)"),
        (["a.png", "--show", "c.jpg"], "--show c.jpg: expected a .png file"),
        (["a.png", "--show", ""], "an argument is empty"),
    ],
)
def test_a_drawing_is_of_one_picture(words: list[str], expected: str, complaint: Complaint) -> None:
    assert expected in complaint("predict", "nothing", *words)


def test_bad_pictures(trained: Path, tmp_path: Path, complaint: Complaint) -> None:
    Image.new("L", (640, 480)).save(tmp_path / "photo.png")
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "folder.png").mkdir()
    for name, expected in (
        ("photo.png", "no digit found"),
        ("text.png", "not a PNG, JPEG, BMP, GIF, TIFF or WebP picture"),
        ("none.png", "No such file"),
        ("folder.png", "no files in this folder, expected pictures"),
    ):
        errors = complaint("predict", trained, tmp_path / name)
        assert expected in errors and name in errors
    assert "no digit found" in complaint("predict", trained, tmp_path / "photo.png", "--split-digits")


# export, report and pictures


def test_export_finishes_a_run_that_a_sweep_has_only_trained(trained: Path, tmp_path: Path, command: Command) -> None:
    run, changes = tmp_path / "run", {"train.epochs": 1, "export.model": False}
    for _ in run_events(tfmnist.Recipe.load_run(trained).replace(changes), run, evaluate_test=False):
        assert not (run / "result.json").exists()
    code, out, errors = command("export", run, tmp_path / "model")
    assert (code, out) == (0, f"{tmp_path / 'model/1'}\n") and (run / "result.json").exists()
    assert errors == f"{run}: trained but not evaluated yet; evaluating it on the test set and exporting it\n"


def test_export_prints_how_accurate_each_file_is(trained: Path, tmp_path: Path, command: Command) -> None:
    accuracy = json.loads((trained / "result.json").read_text())["test_accuracy"]
    code, out, errors = command("export", trained, tmp_path / "digits.tflite", "--format", "litert")
    lines = out.splitlines()
    assert code == 0 and errors == "" and lines[0] == str(tmp_path / "digits.tflite") and len(lines) == 3
    assert lines[1] == f"  digits.tflite: {accuracy:.2%} of 200 test images; the network's class for all"
    assert lines[2].startswith("  digits_int8.tflite: ") and "of 200 test images" in lines[2]
    code, out, errors = command("info", tmp_path / "digits_int8.tflite")
    assert code == 0 and errors == "" and "1 of 1 files intact" in out and "images uint8 [n, 28, 28]" in out


def test_an_ensemble(trained: Path, tmp_path: Path, command: Command, complaint: Complaint) -> None:
    changes = {"train.epochs": 1, "train.seed": 5, "export.model": False, "export.report": False}
    other = tfmnist.run(tfmnist.Recipe.load_run(trained).replace(changes), tmp_path / "other").path
    code, out, errors = command("ensemble", trained, other, tmp_path / "model")
    assert code == 0 and errors == ""
    assert re.fullmatch(rf"{tmp_path}/model/1\n  2 runs, \d+\.\d\d% of 200 test images \(\d+ wrong\)\n", out)
    assert "6 of 6 files intact" in command("info", tmp_path / "model")[1]
    expected = "ensemble needs two or more runs, then a model folder: tfmnist ensemble RUN RUN DEST"
    for words in ([], [trained], [trained, tmp_path / "model"]):
        assert expected in complaint("ensemble", *words)
    assert f"{other}: is a run, expected a model folder" in complaint("ensemble", trained, trained, other)
    assert "not a run folder" in complaint("ensemble", trained, tmp_path / "nothing", tmp_path / "model")
    assert not (tmp_path / "model/2").exists()


def test_report(trained: Path, command: Command) -> None:
    assert command("report", trained) == (0, f"{trained / 'report.html'}\n", "")
    assert (trained / "report.html").is_file()


def test_a_data_set_becomes_pictures(small: Path, tmp_path: Path, command: Command, complaint: Complaint) -> None:
    digits = tfmnist.load(small, validation=0, only=["7", "3"])
    arrays: dict[str, Any] = {}
    for name, split in (("train", digits.train), ("test", digits.test)):
        arrays[f"x_{name}"], arrays[f"y_{name}"] = split.images, split.labels
    np.savez(tmp_path / "two.npz", **arrays, class_names=["seven", "three"])
    folder = tmp_path / "pictures"
    assert command("pictures", folder, "--data", tmp_path / "two.npz") == (0, f"{folder}\n", "")
    counts = {name: len(list((folder / "test" / name).glob("*.png"))) for name in ("seven", "three")}
    assert counts == {name: int(np.sum(digits.test.labels == n)) for n, name in enumerate(("seven", "three"))}
    assert "not an empty folder" in complaint("pictures", folder, "--data", small)


# runs and info


def test_runs(trained: Path, tmp_path: Path, command: Command, complaint: Complaint) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "latest").symlink_to(trained)
    shutil.copytree(trained, tmp_path / "runs" / "mlp-1")
    code, out, errors = command("runs", tmp_path / "runs")
    result = json.loads((trained / "result.json").read_text())
    assert code == 0 and errors == "" and out.count("\n") >= 2
    assert f"mlp-1  {result['test_accuracy']:.2%} ± " in out and "hidden [16]" in " ".join(out.split())
    (row,) = json.loads(command("runs", tmp_path / "runs", "--json")[1])
    assert (row["run"], row["state"], row["epochs"]) == (str(tmp_path / "runs/mlp-1"), "done", 4)
    assert row["result"] == result and row["differs"]["model.hidden"] == [16]
    assert "holds no runs" in complaint("runs", tmp_path)


def test_runs_answers_at_once(trained: Path) -> None:
    code = "import sys; from tfmnist.cli.main import main; main(sys.argv[1:]); assert 'tensorflow' not in sys.modules"
    for words in (["runs", str(trained.parent)], ["info", str(trained)], ["info", str(trained / "model")]):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "") and done.stdout


def test_info_of_a_run(trained: Path, command: Command) -> None:
    code, out, errors = command("info", trained)
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    result = json.loads((trained / "result.json").read_text())
    assert code == 0 and errors == "" and lines["run"] == str(trained)
    assert lines["state"].startswith("done, 4/4 epochs") and lines["host"] == result["host"]
    assert lines["date"] == result["date"].replace("T", " ").replace("Z", " UTC")
    assert lines["model"].startswith(f"{trained / 'model/1'}: ") and "files intact" in lines["model"]
    about = json.loads(command("info", trained, "--json")[1])
    assert about["result"] == result and about["model"]["model"] == str(trained / "model/1")


def test_info_of_a_model_checks_its_files(trained: Path, tmp_path: Path, command: Command) -> None:
    version = tfmnist.export(trained, tmp_path / "model")
    code, out, errors = command("info", tmp_path / "model")
    assert code == 0 and errors == "" and max(map(len, out.splitlines())) <= max(80, len(str(version)) + 12)
    assert "images uint8 [n, 28, 28]" in out and "probabilities float32 [n, 10]" in out and "host" not in out
    about = json.loads(command("info", version, "--json")[1])
    assert about["model"] == str(version) and set(about["files"].values()) == {"intact"}
    assert set(about["card"]["signatures"]) == {"serving_default", "float_images", "image_bytes", "classify"}
    (version / "notes.txt").touch()
    code, out, errors = command("info", version)
    assert code == 2 and "notes.txt is not in the manifest" in out
    assert errors.startswith(f"tfmnist: {version / 'notes.txt'}: not in the manifest") and errors.count("\n") == 1
    (version / "saved_model.pb").write_bytes(b"")
    for words in ((), ("--json",)):
        code, out, errors = command("info", version, *words)
        assert code == 2 and "saved_model.pb" in out and "notes.txt" in out
        assert errors.startswith(f"tfmnist: {version / 'saved_model.pb'}: damaged") and errors.count("\n") == 1


# gradients and recipes


GRADIENTS = '[data]\nsource = "{}"\nvalidation = 0\n[model]\nhidden = [5]\n{}\n'


def test_gradients(small: Path, tmp_path: Path, command: Command) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(GRADIENTS.format(small, 'activation = "sigmoid"'))
    code, out, errors = command("gradients", path, "--examples", "7", "--samples", "3")
    assert code == 0 and errors == ""
    assert out.startswith("tiny: gradients of 7 examples; errors") and "left out" not in out
    rows = [line.split() for line in out.splitlines()]
    for name, shape in (("dense_1/kernel", "784x5"), ("logits/kernel", "5x10"), ("logits/bias", "10")):
        (row,) = [row for row in rows if row[:2] == [name, shape]]
        assert row[6:] == ["3"] and all(float(value) <= 1e-6 for value in row[3:6])
    assert float(out.splitlines()[-1].removeprefix("largest relative error ")) <= 1e-6


def test_gradients_that_are_not_finite_fail(small: Path, tmp_path: Path, command: Command) -> None:
    path = tmp_path / "wild.toml"
    path.write_text(
        GRADIENTS.format(small, 'initializer = "normal"\ninit_scale = 100\n[loss]\nkind = "naive_cross_entropy"')
    )
    code, out, errors = command("gradients", path, "--examples", "7", "--samples", "2")
    assert code == 1 and "largest relative error nan" in out
    assert errors.count("\n") == 1 and "the gradients differ by nan" in errors


def test_recipes(command: Command) -> None:
    code, out, _ = command("recipes")
    assert code == 0 and out.startswith("mlp  ") and "98.16 %" in out and max(map(len, out.splitlines())) <= 100


def test_a_shipped_recipe_is_printed_byte_for_byte() -> None:
    for name in shipped_recipes():
        command = [sys.executable, "-m", "tfmnist", "recipes", name]
        done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
        assert done.stdout == resources.files("tfmnist").joinpath(f"recipes/{name}.toml").read_bytes()
        assert (done.returncode, done.stderr) == (0, b"")


def test_a_recipe_file_is_printed_complete(tmp_path: Path, command: Command) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('extends = "cnn"\n[train]\nepochs = 4\n')
    code, out, _ = command("recipes", path)
    assert code == 0 and tomllib.loads(out) == tomllib.loads(tfmnist.Recipe.load(path).to_toml())
    assert 'kind = "cnn"' in out and "epochs = 4" in out


def test_a_recipe_that_is_none_is_not_printed(tmp_path: Path, complaint: Complaint) -> None:
    assert "recipe 'mpl' is neither shipped nor a .toml file; did you mean 'mlp'?" in complaint("recipes", "mpl")
    assert "cannot read the recipe" in complaint("recipes", tmp_path / "nothing.toml")
