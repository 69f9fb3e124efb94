"""Models in one file: the card is read back, a changed byte is noticed, and other programs find what they look for."""

import hashlib
import json
import zipfile
from pathlib import Path

import pytest

from tfmnist.artifacts.card import ModelCard
from tfmnist.artifacts.protobuf import field
from tfmnist.artifacts.sealed import is_intact, read_sealed_card, seal_litert, seal_onnx

MODELS = {".onnx": (seal_onnx, field(7, b"a graph")), ".tflite": (seal_litert, b"\x1c\0\0\0TFL3 and a model")}


@pytest.fixture(params=MODELS)
def path(request: pytest.FixtureRequest, card: ModelCard, tmp_path: Path) -> Path:
    seal, model = MODELS[request.param]
    path = tmp_path / f"m{request.param}"
    path.write_bytes(seal(model, card))
    assert path.read_bytes().startswith(model) and path.read_bytes() == seal(model, card)
    return path


def test_the_card_is_read_back_with_one_signature(path: Path, card: ModelCard) -> None:
    read = read_sealed_card(path)
    assert list(read.signatures or {}) == ["serving_default"]
    assert read.model_copy(update={"signatures": None}) == card


def test_a_changed_byte_is_noticed(path: Path) -> None:
    data = path.read_bytes()
    assert is_intact(path) and data[-64:].decode() == hashlib.sha256(data[:-64]).hexdigest()
    for position in (0, len(data) // 2, len(data) - 70, len(data) - 1):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        assert not is_intact(path), position
    for changed in (data[:-1], data + b"\0", b"", data[-64:]):
        path.write_bytes(changed)
        assert not is_intact(path)


def test_a_file_without_a_card_is_a_value_error(path: Path) -> None:
    for content in (b"", MODELS[path.suffix][1], b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(ValueError):
            read_sealed_card(path)


def test_a_litert_file_is_an_archive_too(card: ModelCard, tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(seal_litert(b"model", card))
    with zipfile.ZipFile(tmp_path / "m.tflite") as archive:
        assert archive.testzip() is None and archive.read("labels.txt") == b"a\nb\nc\n"
        assert json.loads(archive.read("model_card.json"))["class_names"] == ["a", "b", "c"]
