"""The command line as a user meets it: in a process of its own."""

import gzip
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tfmnist
from tfmnist.cli import main as cli

TINY = ["--data.validation", "100", "--model.hidden", "16", "--train.compile", "graph", "--export.report", "false"]


def tfmnist_command(*words: str | Path, **options: Any) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tfmnist", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.fixture(scope="module")
def trained(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("cli") / "run"
    done = tfmnist_command("train", "--data.source", small, *TINY[:-2], "--train.epochs", "4", "--run-dir", run)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "TensorFlow's log stays off the screen"
    assert "\x1b" not in done.stdout and "\r" not in done.stdout, "no drawing where nobody looks"
    assert max(map(len, done.stdout.splitlines()[8:12])) <= 79
    assert "test accuracy" in done.stdout and str(run / "report.html") in done.stdout
    return run


def run_command(capfd: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    """Like `tfmnist_command` in this process, which has TensorFlow already: code, output and errors."""
    capfd.readouterr()
    code = cli.main([str(word) for word in words])
    out, errors = capfd.readouterr()
    return code, out, errors


def test_evaluate(trained: Path, small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    result = json.loads((trained / "result.json").read_text())
    text = tfmnist_command("evaluate", trained)
    assert text.returncode == 0 and f"accuracy {result['test_accuracy']:.2%}" in text.stdout
    found = json.loads(run_command(capfd, "evaluate", trained / "model", "--data", small, "--json")[1])
    assert found["accuracy"] == result["test_accuracy"] and found["count"] == 200
    assert [row["class"] for row in found["per_class"]] == [str(n) for n in range(10)]
    validation = json.loads(run_command(capfd, "evaluate", trained, "--split", "validation", "--json")[1])
    assert validation["accuracy"] == result["validation_accuracy"] and validation["count"] == 100


def test_evaluate_on_some_of_the_models_classes(
    trained: Path, small: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    digits = tfmnist.load(small, validation=0, only=["7", "3"])
    arrays: dict[str, Any] = {}
    for name, split in (("train", digits.train), ("test", digits.test)):
        arrays[f"x_{name}"], arrays[f"y_{name}"] = split.images, split.labels
    path = tmp_path / "two.npz"
    np.savez(path, **arrays, class_names=["7", "3"])
    code, out, _ = run_command(capfd, "evaluate", trained, "--data", path, "--json")
    found = json.loads(out)
    assert code == 0 and found["count"] == len(digits.test)
    exported = tfmnist.load_exported(trained)
    right = exported.predict(digits.test.images).classes == np.array([7, 3])[digits.test.labels]
    assert found["accuracy"] == right.mean()
    assert [row["class"] for row in found["per_class"]] == [str(n) for n in range(10)]

    np.savez(path, **arrays, class_names=["a", "b"])
    code = cli.main(["evaluate", str(trained), "--data", str(path)])
    assert_one_line(code, capfd, "its classes are a, b, expected some of the model's, 0, 1, 2")


def drawing(path: Path, *images: Any, side: int = 28) -> Path:
    """A photo of digits, so to speak: dark on light, five times as large, side by side."""
    ink = np.concatenate([np.pad(image, ((8, 8), (side // 4, side // 4))) for image in images], axis=1)
    Image.fromarray(255 - np.kron(ink, np.ones([5, 5], np.uint8))).save(path)
    return path


def test_predict(trained: Path, small: Path, tmp_path: Path) -> None:
    test = tfmnist.load(small, validation=0).test
    paths = [tmp_path / f"{index}.png" for index in range(8)]
    for path, image in zip(paths, test.images):
        Image.fromarray(image).save(path)
    Image.fromarray(255 - test.images[0]).save(tmp_path / "on paper.png")
    done = tfmnist_command("predict", trained, *paths, tmp_path / "on paper.png", "--json")
    assert done.returncode == 0 and done.stderr == ""
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    expected = tfmnist.load_exported(trained).predict(test.images[:8])
    assert [row["class"] for row in rows] == [str(n) for n in [*expected.classes, expected.classes[0]]]
    assert [row["image"] for row in rows[:8]] == list(map(str, paths))
    for row, shares in zip(rows, expected.probabilities):
        assert set(row) == {"image", "class", "probability", "runner_up", "probabilities"}
        assert list(row["probabilities"].values()) == pytest.approx(shares.tolist(), abs=1e-6)
        best, second = np.argsort(-shares)[:2]
        assert row["probability"] == row["probabilities"][str(best)]
        assert row["runner_up"] == {"class": str(second), "probability": row["probabilities"][str(second)]}


def test_predict_says_how_sure_it_is_and_what_came_second(
    trained: Path, small: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    test = tfmnist.load(small, validation=0).test
    path = drawing(tmp_path / "large.png", test.images[0])
    code, out, errors = run_command(capfd, "predict", trained, path, "--show", tmp_path / "shown.png")
    assert code == 0 and errors == ""
    assert re.fullmatch(rf"{path}: \d  \d+\.\d%  \(then \d, \d+\.\d%\)\n", out)
    with Image.open(tmp_path / "shown.png") as shown:
        assert shown.format == "PNG" and min(shown.size) > 100


def test_pictures_that_cannot_be_read_do_not_hide_those_that_can(
    trained: Path, small: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    test = tfmnist.load(small, validation=0).test
    good, two = drawing(tmp_path / "good.png", test.images[0]), drawing(tmp_path / "two.png", *test.images[1:3])
    blank = tmp_path / "blank.png"
    Image.new("RGB", (90, 60), (250, 248, 240)).save(blank)
    code, out, errors = run_command(capfd, "predict", trained, blank, good, two, good, "--json")
    assert code == 2
    assert [json.loads(line)["image"] for line in out.splitlines()] == [str(good), str(good)]
    first, second = errors.splitlines()
    assert first.startswith(f"tfmnist: {blank}: no ink found on it")
    assert second.startswith(f"tfmnist: {two}: 2 digits found on it") and "--split-digits" in second


def test_a_number_is_read_digit_by_digit(
    trained: Path, small: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    test = tfmnist.load(small, validation=0).test
    path = drawing(tmp_path / "number.png", *test.images[:3])
    show = tmp_path / "shown.png"
    code, out, errors = run_command(capfd, "predict", trained, path, "--split-digits", "--show", show, "--json")
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
        (["a.png", "b.png", "--show", "c.png"], "--show c.png: expected one .png file, for one picture; 2 are given"),
        (["a.png", "--show", "c.jpg"], "--show c.jpg: expected one .png file"),
        (["a.png", "--show", ""], "an argument is empty"),
    ],
)
def test_a_drawing_is_of_one_picture(words: list[str], expected: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert_one_line(cli.main(["predict", "nothing", *words]), capfd, expected)


def test_export_and_report(trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = tfmnist_command("export", trained, tmp_path / "model")
    assert done.returncode == 0 and done.stdout == f"{tmp_path / 'model/1'}\n"
    assert run_command(capfd, "export", trained, tmp_path / "model") == (0, f"{tmp_path / 'model/2'}\n", "")
    assert run_command(capfd, "evaluate", tmp_path / "model")[0] == 0
    (trained / "report.html").unlink()
    done = tfmnist_command("report", trained)
    assert done.stdout == f"{trained / 'report.html'}\n" and (trained / "report.html").is_file()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_a_resume_finishes(number: signal.Signals, small: Path, tmp_path: Path) -> None:
    words = ["train", "--data.source", str(small), *TINY, "--train.epochs", "60", "--train.block", "1"]
    words += ["--export.model", "false"]
    whole = tfmnist_command(*words, "--run-dir", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "tfmnist", *words, "--run-dir", str(run)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    while process.poll() is None and not list((run / "checkpoints").glob("*.npz")):
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == 75
    assert errors.decode() == f"tfmnist: stopped and saved; go on with: tfmnist train --resume {run}\n"
    done = tfmnist_command("train", "--resume", run)
    assert done.returncode == 0, done.stderr
    digests = [json.loads((path / "result.json").read_text())["weights_sha256"] for path in (run, tmp_path / "whole")]
    assert digests[0] == digests[1]


def idx(shape: list[int], content: bytes) -> bytes:
    return b"\0\0\x08" + bytes([len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape) + content


GOOD = {
    "train-images-idx3-ubyte": idx([4, 2, 2], bytes(16)),
    "train-labels-idx1-ubyte": idx([4], bytes([0, 1, 0, 1])),
    "t10k-images-idx3-ubyte": idx([2, 2, 2], bytes(8)),
    "t10k-labels-idx1-ubyte": idx([2], bytes([0, 1])),
}
BAD_FILES: dict[str, tuple[dict[str, bytes], str]] = {
    "wrong magic": ({"train-images-idx3-ubyte": b"GIF89a" + bytes(30)}, "magic"),
    "labels for images": ({"train-images-idx3-ubyte": idx([4], bytes(4))}, "labels file"),
    "truncated": ({"train-images-idx3-ubyte": idx([4, 2, 2], bytes(15))}, "15"),
    "too long": ({"train-images-idx3-ubyte": idx([4, 2, 2], bytes(17))}, "17"),
    "broken gzip": ({"train-images-idx3-ubyte": gzip.compress(idx([4, 2, 2], bytes(16)))[:-9]}, "gzip"),
    "no bytes": ({"t10k-labels-idx1-ubyte": b""}, "empty"),
    "no images": ({"train-images-idx3-ubyte": idx([0, 2, 2], b"")}, "image"),
    "other count": ({"train-labels-idx1-ubyte": idx([3], bytes([0, 1, 0]))}, "4 images but 3 labels"),
    "label beyond": ({"train-labels-idx1-ubyte": idx([4], bytes([0, 1, 0, 9]))}, "out of range"),
    "test label beyond": ({"t10k-labels-idx1-ubyte": idx([2], bytes([0, 2]))}, "label 2"),
    "other size": ({"t10k-images-idx3-ubyte": idx([2, 1, 4], bytes(8))}, "1 x 4"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files, expected = BAD_FILES[name]
    for file, content in {**GOOD, **files}.items():
        (tmp_path / file).write_bytes(content)
    code = cli.main(
        ["train", "--data.source", str(tmp_path), "--data.validation", "0", "--run-dir", str(tmp_path / "run")]
    )
    assert_one_line(code, capfd, expected, str(tmp_path))
    assert not (tmp_path / "run").exists()


def test_good_files_train(tmp_path: Path) -> None:
    for file, content in GOOD.items():
        (tmp_path / file).write_bytes(content)
    words = ["--data.source", tmp_path, *TINY, "--data.validation", "0", "--train.epochs", "1"]
    assert tfmnist_command("train", *words, "--run-dir", tmp_path / "run").returncode == 0


BAD_WORDS: dict[str, tuple[list[str], str]] = {
    "command": (["trian"], "did you mean 'train'"),
    "recipe": (["train", "mpl"], "did you mean 'mlp'"),
    "recipe file": (["train", "nothing.toml"], "nothing.toml"),
    "value": (
        ["train", "--optimizer.learning_rate", "-1"],
        "optimizer.learning_rate' is -1.0: expected greater than 0",
    ),
    "combination": (["train", "--train.patience", "2", "--data.validation", "0"], "needs validation examples"),
    "no cnn layers": (["train", "--model.kind", "cnn"], "needs at least one layer"),
    "layer": (["train", "cnn", "--model.layers", "conv x"], "'conv x'"),
    "source": (["train", "--data.source", "minst"], "did you mean 'mnist'"),
    "too much validation": (["train", "--data.validation", "60000"], "data.validation is 60000"),
    "pool too often": (["train", "cnn", "--model.layers", *["max 4"] * 3], "does not fit"),
    "warm-up": (["train", "--schedule.kind", "cosine", "--schedule.warmup", "9"], "schedule.warmup"),
    "resume nothing": (["train", "--resume", "nothing"], "not a run folder"),
    "resume and recipe": (["train", "cnn", "--resume", "x"], "leave them out"),
    "evaluate nothing": (["evaluate", "nothing"], "does not exist"),
    "predict no picture": (["predict", "nothing"], "at least one picture"),
    "gradients of a cnn": (["gradients", "cnn"], "the formulas cover an MLP"),
    "gradients of no examples": (["gradients", "--examples", "0"], "--examples 0 --samples 50: expected at least 1"),
    "gradients of no samples": (["gradients", "mlp", "--samples", "-3"], "expected at least 1 of each"),
    "gradients of what": (["gradients", "mpl"], "did you mean 'mlp'"),
    "pictures of nothing": (["pictures", "there", "--data", "minst"], "did you mean 'mnist'"),
    "start from nothing": (["train", "--init-from", "nothing"], "not a run folder"),
    "start a recipe from nothing": (["train", "cnn", "--init-from", "nothing"], "not a finished run to start from"),
    "freeze nothing": (["train", "--freeze", "conv_*"], "'model.freeze' has 'conv_*': no layer"),
    "only": (["train", "--data.only", "7", "8", "ten"], "'data.only' has 'ten': no such class"),
    "export nothing": (["export", "nothing", "x"], "not a run folder"),
    "report nothing": (["report", "nothing"], "nothing"),
}


@pytest.mark.parametrize("name", BAD_WORDS)
def test_bad_words(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words, expected = BAD_WORDS[name]
    assert_one_line(cli.main(words), capfd, expected)
    assert list(tmp_path.iterdir()) == []


def assert_one_line(code: int, capfd: pytest.CaptureFixture[str], *expected: str) -> None:
    out, errors = capfd.readouterr()
    assert code == 2 and out == ""
    assert errors.count("\n") == 1 and errors.startswith("tfmnist: ")
    assert all(text in errors for text in expected), errors


def test_bad_pictures(trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (640, 480)).save(tmp_path / "photo.png")
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "folder.png").mkdir()
    for name, expected in (
        ("photo.png", "no ink found"),
        ("text.png", "not a PNG or JPEG"),
        ("none.png", "No such file"),
        ("folder.png", "Is a directory"),
    ):
        words = ["predict", str(trained), str(tmp_path / name)]
        assert_one_line(cli.main(words), capfd, expected, name)
    assert_one_line(cli.main([*words, "--split-digits"]), capfd, expected, name)


def test_bad_models(trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tfmnist.export(trained, tmp_path / "model")
    card = tmp_path / "model/1/assets.extra/model_card.json"
    card.write_text(card.read_text().replace("mlp", "nlp"))
    assert_one_line(cli.main(["evaluate", str(tmp_path / "model")]), capfd, "model_card.json", "damaged")
    (tmp_path / "empty").mkdir()
    assert_one_line(cli.main(["evaluate", str(tmp_path / "empty")]), capfd, "holds no exported model")


def test_a_diverged_run_is_one_line_and_code_1(small: Path, tmp_path: Path) -> None:
    wild = ["--model.initializer", "normal", "--optimizer.kind", "sgd", "--optimizer.learning_rate", "1e30"]
    done = tfmnist_command("train", "--data.source", small, *TINY, *wild, "--run-dir", tmp_path / "run")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert all(word in done.stderr for word in ("diverged", "epoch 1", "step", "learning rate 1e+30", "init_scale"))


def test_the_recipe_as_printed_ends_with_code_1_and_a_way_out(
    small: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [
        "train",
        "mlp-as-printed",
        "--data.source",
        small,
        "--data.validation",
        "100",
        "--run-dir",
        tmp_path / "run",
    ]
    code, out, errors = run_command(capfd, *words)
    assert code == 1 and "recipe   mlp-as-printed" in out and "test accuracy" not in out
    assert errors.count("\n") == 1 and errors.startswith("tfmnist: diverged: the loss is nan at epoch 1, step 1 of 5, ")
    assert "learning rate 0.001, initial weights of standard deviation 1" in errors
    assert "model.initializer he" in errors and "loss.kind cross_entropy" in errors


def test_a_run_goes_on_from_another(trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--init-from", trained, "--freeze", "dense_*", "--data.only", "3", "7", "--data.validation", "0"]
    quick = ["--train.epochs", "1", "--export.model", "false", "--export.report", "false"]
    code, out, errors = run_command(capfd, *words, *quick, "--run-dir", tmp_path / "run")
    assert code == 0, errors
    assert f"from {trained}, weights " in out and "frozen dense_1" in out and "2 classes, 28x28 pixels" in out
    assert tfmnist.Recipe.load_run(tmp_path / "run").model.hidden == (16,)  # as in the run it started from


GRADIENTS = '[data]\nsource = "{}"\nvalidation = 0\n[model]\nhidden = [5]\n{}\n'


def test_gradients(small: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(GRADIENTS.format(small, 'activation = "sigmoid"'))
    code, out, errors = run_command(capfd, "gradients", path, "--examples", "7", "--samples", "3")
    assert code == 0 and errors == ""
    assert out.startswith("tiny: gradients of 7 examples; errors") and "left out" not in out
    rows = [line.split() for line in out.splitlines()]
    for name, shape in (("dense_1/kernel", "784x5"), ("logits/kernel", "5x10"), ("logits/bias", "10")):
        (row,) = [row for row in rows if row[:2] == [name, shape]]
        assert row[6:] == ["3"] and all(float(value) <= 1e-6 for value in row[3:6])
    assert float(out.splitlines()[-1].removeprefix("largest relative error ")) <= 1e-6


def test_gradients_that_are_not_finite_fail(small: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "wild.toml"
    path.write_text(
        GRADIENTS.format(small, 'initializer = "normal"\ninit_scale = 100\n[loss]\nkind = "naive_cross_entropy"')
    )
    code, out, errors = run_command(capfd, "gradients", path, "--examples", "7", "--samples", "2")
    assert code == 1 and "largest relative error nan" in out
    assert errors.count("\n") == 1 and "the gradients differ by nan" in errors


def test_a_data_set_becomes_pictures_and_they_a_run(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TFMNIST_CACHE", str(tmp_path / "cache"))
    digits = tfmnist.load(small, validation=0, only=["7", "3", "1"])
    arrays: dict[str, Any] = {}
    for name, split in (("train", digits.train), ("test", digits.test)):
        arrays[f"x_{name}"], arrays[f"y_{name}"] = split.images, split.labels
    np.savez(tmp_path / "three.npz", **arrays, class_names=["seven", "three", "one"])
    folder = tmp_path / "pictures"
    assert run_command(capfd, "pictures", folder, "--data", tmp_path / "three.npz") == (0, f"{folder}\n", "")
    counts = {name: len(list((folder / "test" / name).glob("*.png"))) for name in ("one", "seven", "three")}
    assert counts == {name: int(np.sum(digits.test.labels == n)) for n, name in enumerate(("seven", "three", "one"))}
    assert_one_line(cli.main(["pictures", str(folder), "--data", str(small)]), capfd, "not an empty folder")

    run = tmp_path / "run"
    words = ["--data.source", folder, *TINY, "--data.validation", "20", "--train.epochs", "1"]
    code, out, errors = run_command(capfd, "train", *words, "--run-dir", run)
    assert code == 0, errors
    assert "3 classes, 28x28 pixels" in out
    result = json.loads((run / "result.json").read_text())
    assert result["data"]["class_names"] == ["one", "seven", "three"]
    for data in ([], ["--data", folder], ["--data", tmp_path / "three.npz"]):  # where the classes come in another order
        found = json.loads(run_command(capfd, "evaluate", run, *data, "--json")[1])
        assert found["accuracy"] == pytest.approx(result["test_accuracy"]) and found["count"] == len(digits.test)
        assert [row["class"] for row in found["per_class"]] == ["one", "seven", "three"]


def test_other_data_than_the_models(trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (6, 5, 5)).astype(np.uint8), np.arange(6) % 2
    np.savez(tmp_path / "x.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    code = cli.main(["evaluate", str(trained), "--data", str(tmp_path / "x.npz")])
    assert_one_line(code, capfd, "5x5", "28x28")


def test_no_command_is_usage_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert capsys.readouterr().out.startswith("usage: tfmnist")
