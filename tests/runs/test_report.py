"""The report: one page that holds everything, escapes everything, and fails in one line."""

import base64
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfmnist.errors import InputError
from tfmnist.nn.metrics import wilson_interval
from tfmnist.runs.report import draw_figures, write_report
from tfmnist.system.files import write_npz

FIGURES = ["learning_curves", "confusion_matrix", "per_class", "mistakes", "calibration"]
INSPECTED = ["augmented", "first_weights", "feature_maps"]


def make_run(run: Path, names: list[str] | None = None, mistakes: bool = True, validation: bool = True) -> Path:
    """Writes the files of a small finished run, and returns its folder."""
    run.mkdir(parents=True)
    names = names or ["zero", "one", "two"]
    random, count, classes = np.random.default_rng(0), 90, len(names)
    labels = np.arange(count) % classes
    predictions = labels.copy()
    wrong = np.arange(0, count, 9) if mistakes else np.zeros([0], np.int64)
    predictions[wrong] = (labels[wrong] + 1) % classes
    probabilities = random.uniform(0, 0.1, [count, classes]).astype(np.float32)
    probabilities[np.arange(count), predictions] += 1
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    wrong = wrong[np.argsort(-probabilities.max(axis=1)[wrong], kind="stable")]
    np.savez(
        run / "evaluation.npz",
        labels=labels,
        probabilities=probabilities,
        class_names=np.array(names),
        mistake_index=wrong,
        mistake_images=random.integers(256, size=[len(wrong), 12, 10]).astype(np.uint8),
        loss=np.float32(0.25),
    )
    correct = count - len(wrong)
    result: dict[str, Any] = {
        "name": "tiny",
        "test_accuracy": correct / count,
        "test_accuracy_ci95": wilson_interval(correct, count),
        "test_loss": 0.25,
        "validation_accuracy": 0.875 if validation else None,
        "epochs": 2,
        "steps": 1234,
        "parameters": 407_050,
        "seed": 7,
        "weights_sha256": "5eed" * 16,
        "seconds": {"load": 0.1, "compile": 1.0, "train": 2.5, "evaluate": 0.2, "export": None, "total": 3.8},
        "data": {
            "source": "mnist",
            "sha256": "da7a" * 16,
            "train": 80,
            "validation": 10,
            "test": 90,
            "classes": classes,
            "class_names": names,
            "image_shape": [12, 10],
        },
        "versions": {"tfmnist": "1.0.0", "tensorflow": "2.19.0"},
        "something_new": [1, 2, 3],
    }
    (run / "result.json").write_text(json.dumps(result))
    row = {"epoch": 1, "step": 617, "loss": 0.4, "accuracy": 0.8, "learning_rate": 0.001, "seconds": 1.2}
    held_out = {"validation_loss": 0.5, "validation_accuracy": 0.85}
    row |= held_out if validation else dict.fromkeys(held_out)
    row["images_per_second"] = 66.7
    (run / "metrics.jsonl").write_text("".join(json.dumps(row | {"epoch": epoch}) + "\n" for epoch in (1, 2)))
    (run / "recipe.toml").write_text('name = "tiny"  # 1 < 2 & 3\n[train]\nepochs = 2\n')
    return run


def add_inspection(run: Path, *without: str) -> Path:
    """Writes what a run says about its network, without some of its arrays, and returns the run's folder."""
    random = np.random.default_rng(1)
    arrays: dict[str, Any] = {
        "first_layer": np.array("conv_1"),
        "first_weights": random.normal(size=[6, 5, 5]).astype(np.float32),
        "picture": random.integers(256, size=[12, 10]).astype(np.uint8),
        "map_names": np.array(["conv_1 + relu_1", "conv_2"]),
        "map_0": random.normal(size=[6, 12, 10]).astype(np.float32),
        "map_1": random.normal(size=[4, 6, 5]).astype(np.float32),
        "augmented_originals": random.integers(256, size=[2, 12, 10]).astype(np.uint8),
        "augmented": random.integers(256, size=[2, 8, 12, 10]).astype(np.uint8),
    }
    write_npz(run / "inspection.npz", {name: array for name, array in arrays.items() if name not in without})
    return run


class Page(HTMLParser):
    """Collects the tags of a page, and checks that they nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_holds_everything(tmp_path: Path) -> None:
    run = add_inspection(make_run(tmp_path / "run"))
    path = write_report(run)
    assert path == run / "report.html"
    text = path.read_text(encoding="utf-8")
    images = [attributes for tag, attributes in Page(text).tags if tag == "img"]
    for name, image in zip(FIGURES + INSPECTED, images, strict=True):
        content = (run / "figures" / f"{name}.png").read_bytes()
        assert image["src"] == f"data:image/png;base64,{base64.b64encode(content).decode()}"
        assert image["alt"] and image["width"] and image["height"]
    for part in (
        "tiny",
        "88.89\xa0%",
        "80.74 to 93.85\xa0%",
        "407,050",
        "1,234",
        "87.50\xa0%",
        "5eed" * 16,
        "da7a" * 16,
    ):
        assert part in text
    assert "1 &lt; 2 &amp; 3" in text
    assert f"tfmnist predict {run} picture.png" in text
    # It asks nothing of the network.
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    assert "<script" not in text
    for tag, attributes in Page(text).tags:
        for key in ("src", "href"):
            assert (attributes.get(key) or "data:").startswith("data:"), (tag, key)


@pytest.mark.parametrize(
    ("without", "figures"),
    [
        (("picture", "map_names", "map_0", "map_1"), ["augmented", "first_weights"]),
        (("augmented", "augmented_originals"), ["first_weights", "feature_maps"]),
    ],
    ids=["no convolutions", "no augmentation"],
)
def test_figures_are_of_what_there_is(without: tuple[str, ...], figures: list[str], tmp_path: Path) -> None:
    run = add_inspection(make_run(tmp_path / "run"), *without)
    Page(write_report(run).read_text(encoding="utf-8"))
    assert {path.stem for path in (run / "figures").iterdir()} == {*FIGURES, *figures}


@pytest.mark.parametrize("name", ["first_layer", "first_weights", "map_names", "map_1", "augmented_originals"])
def test_an_array_that_an_inspection_lacks_is_named(name: str, tmp_path: Path) -> None:
    run = add_inspection(make_run(tmp_path / "run"), name)
    assert name in fails(run, "inspection.npz")


@pytest.mark.parametrize("content", [b"", b"no archive at all"])
def test_a_damaged_inspection_is_named(content: bytes, tmp_path: Path) -> None:
    run = add_inspection(make_run(tmp_path / "run"))
    whole = (run / "inspection.npz").read_bytes()
    (run / "inspection.npz").write_bytes(content or whole[: len(whole) // 2])
    fails(run, "inspection.npz")


def test_names_are_escaped(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a <b> & 'c'", names=["<b>", '"quoted" & more', "$recipe ${x}"])
    text = write_report(run).read_text(encoding="utf-8")
    Page(text)
    assert "<b>" not in text
    assert "&lt;b&gt;" in text
    assert "$recipe ${x}" in text


def test_no_mistakes_and_no_validation(tmp_path: Path) -> None:
    text = write_report(make_run(tmp_path / "run", mistakes=False, validation=False)).read_text(encoding="utf-8")
    assert "100.00\xa0%" in text
    assert "no validation set" in text


def test_many_classes_are_folded_away(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", names=[f"class {index}" for index in range(31)])
    text = write_report(run).read_text(encoding="utf-8")
    Page(text)
    assert "<summary>All 31 classes</summary>" in text


@pytest.mark.parametrize("name", ["result.json", "metrics.jsonl", "recipe.toml", "evaluation.npz"])
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / name).unlink()
    with pytest.raises(InputError) as caught:
        write_report(run)
    assert str(caught.value) == (
        f"{run / name}: missing; is this a run folder? Finish the run with 'tfmnist train --resume {run}'."
    )
    assert not (run / "report.html").exists()


@pytest.mark.parametrize("name", ["result.json", "metrics.jsonl", "recipe.toml", "evaluation.npz"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"\xff\xfe" + content,  # pyright: ignore
        lambda content: content[: len(content) // 2] + b"\xff",  # pyright: ignore
    ],
    ids=["prefix", "half"],
)
def test_a_damaged_file_is_named(name: str, damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    path = run / name
    path.write_bytes(damage(path.read_bytes()))
    if name == "evaluation.npz" and path.read_bytes().startswith(b"\xff"):
        path.write_bytes(b"no archive at all")
    fails(run, name)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"name": "tiny"}'])
@pytest.mark.parametrize("name", ["result.json", "metrics.jsonl"])
def test_json_of_another_kind_is_named(name: str, content: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / name).write_text(content)
    fails(run, name)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("labels", None, "'labels'"),
        ("class_names", np.array(["a", "b", "c"], object), "allow_pickle"),
    ],
)
def test_arrays_that_are_missing_or_objects_are_named(key: str, value: Any, why: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with np.load(run / "evaluation.npz") as file:
        arrays: dict[str, Any] = dict(file)
    arrays[key] = value
    np.savez(run / "evaluation.npz", **{name: array for name, array in arrays.items() if array is not None})
    assert why in fails(run, "evaluation.npz")


def fails(run: Path, name: str) -> str:
    """Checks that the report fails in one line that names the file, and returns the line."""
    with pytest.raises(InputError) as caught:
        write_report(run)
    message = str(caught.value)
    assert message.startswith(f"{run / name}: damaged: ") and message.count("damaged: ") == 1
    rewritten = f"'tfmnist train --resume {run}' writes it again from the last checkpoint."
    assert message.endswith("; restore it as it was." if name == "recipe.toml" else f"; {rewritten}")
    assert "\n" not in message
    return message


def test_figures_drawn_in_a_thread_before_the_result_exists_give_the_same_page(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    before = {path.name for path in run.iterdir()}
    first = write_report(run).read_bytes()
    result = (run / "result.json").read_bytes()
    (run / "result.json").unlink()
    with ThreadPoolExecutor(1) as pool:
        drawn = pool.submit(draw_figures, run).result()
    (run / "result.json").write_bytes(result)
    assert write_report(run, drawn).read_bytes() == first
    assert {path.name for path in run.iterdir()} - before == {"report.html", "figures"}
