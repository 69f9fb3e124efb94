"""Model cards: what is written is read back, and cards of older exports still load."""

import json
from pathlib import Path

import pytest

from tfmnist.artifacts.card import ModelCard
from tfmnist.photos.status import Status

OLDER = {
    "loss": "quadratic",
    "recipe": {"name": "mlp", "data": {"source": "mnist"}},
    "result": {"test_accuracy": 0.97},
    "data": {"sha256": "ab"},
    "versions": {"tfmnist": "0.1.0"},
    "image_shape": [28, 20],
    "class_names": ["a", "b"],
    "signatures": {"serving_default": {"inputs": {}}},
    "note": "a key of another version",
}


def test_a_card_is_read_back_with_its_signatures(tmp_path: Path) -> None:
    card = ModelCard(loss="cross_entropy", parameters=7, image_shape=(6, 5), class_names=("a", "b", "c"))
    card.write(tmp_path)
    read = ModelCard.read(tmp_path)
    signatures = read.signatures or {}
    assert list(signatures) == ["serving_default", "float_images", "image_bytes", "classify"]
    images = signatures["serving_default"]["inputs"]["images"]
    assert images == {"dtype": "uint8", "shape": ["n", 6, 5], "range": [0, 255]}
    assert signatures["image_bytes"]["outputs"]["probabilities"] == {"dtype": "float32", "shape": ["n", 3]}
    pictures = signatures["image_bytes"]["outputs"]
    assert pictures["digits"] == {"dtype": "int64", "shape": ["n"]}
    assert pictures["status"]["values"] == {str(number): status.explain() for number, status in enumerate(Status)}
    assert "status" not in signatures["serving_default"]["outputs"]
    classify = signatures["classify"]
    assert (classify["inputs"]["inputs"]["shape"], list(classify["inputs"])) == (["n"], ["inputs"])
    assert {name: (about["dtype"], about["shape"]) for name, about in classify["outputs"].items()} == {
        "classes": ("string", ["n", 3]),
        "scores": ("float32", ["n", 3]),
    }
    assert read == card.model_copy(update={"signatures": signatures})
    keys = ["loss", "parameters", "image_shape", "class_names", "signatures"]
    assert list(json.loads((tmp_path / "assets.extra/model_card.json").read_text())) == keys


def test_a_card_of_an_older_export_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra/model_card.json").write_text(json.dumps(OLDER))
    card = ModelCard.read(tmp_path)
    assert card.to_dict() == OLDER
    assert card.image_shape == (28, 20) and card.class_names == ("a", "b") and card.form is None


def test_a_damaged_card_is_a_value_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ModelCard.read(tmp_path)
    (tmp_path / "assets.extra").mkdir()
    good = '{"loss": "quadratic", "image_shape": [28, 28], "class_names": ["a", "b"]'
    (tmp_path / "assets.extra/model_card.json").write_text(good + "}")
    ModelCard.read(tmp_path)
    wrong = ('"image_shape": [0, 28]', '"class_names": []', '"temperature": NaN', '"temperature": 0', '"threshold": 2')
    others = ("", "[]", "{}", '{"loss": "quadratic"}', "[" * 100_000, "[1, 2]", '"\\u0000"', "9" * 5000)
    for content in (*others, *(f"{good}, {value}}}" for value in wrong)):
        (tmp_path / "assets.extra/model_card.json").write_text(content)
        with pytest.raises(ValueError):
            ModelCard.read(tmp_path)
