"""Models in one file, ONNX or LiteRT, with their card, class names and a digest. Needs neither library.

The last 64 bytes of a file are the SHA-256, in hexadecimal, of all bytes before them. In ONNX they are the last entry
of the metadata; in LiteRT they are the comment of a zip archive behind the model, which LiteRT ignores, and from
which `unzip` extracts the card and `labels.txt`.
"""

import hashlib
import io
import json
import zipfile
from pathlib import Path

from tfmnist.artifacts.card import ModelCard
from tfmnist.artifacts.protobuf import field, fields

SUFFIXES = (".onnx", ".tflite")
_SIGNATURES = ("serving_default",)
_METADATA, _KEY, _VALUE = 14, 1, 2  # numbers of fields in ONNX's ModelProto and StringStringEntryProto
_DIGEST = b"0" * 64  # placeholder for the digest


def seal_onnx(model: bytes, card: ModelCard) -> bytes:
    """Returns an ONNX model with metadata: `model_card` and `class_names` in JSON, and `sha256`."""
    entries = {"model_card": card.to_json(_SIGNATURES), "class_names": json.dumps(card.class_names)}
    texts = {key: text.encode() for key, text in entries.items()} | {"sha256": _DIGEST}
    added = (field(_METADATA, field(_KEY, key.encode()) + field(_VALUE, text)) for key, text in texts.items())
    return _sealed(model + b"".join(added))


def seal_litert(model: bytes, card: ModelCard) -> bytes:
    """Returns a LiteRT model with an archive behind it: `model_card.json` and `labels.txt`."""
    buffer = io.BytesIO(model)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = _DIGEST
        for name, text in (("model_card.json", card.to_json(_SIGNATURES)), ("labels.txt", card.labels)):
            archive.writestr(zipfile.ZipInfo(name), text)  # no timestamp, so equal models give equal files
    return _sealed(buffer.getvalue())


def is_intact(path: Path) -> bool:
    """Returns whether a file matches its digest."""
    data = path.read_bytes()
    return _sealed(data) == data


def read_sealed_card(path: Path) -> ModelCard:
    """Reads the card of a file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it has no card, or a damaged one.
    """
    if path.suffix == ".onnx":
        entries = (dict(fields(entry)) for number, entry in fields(path.read_bytes()) if number == _METADATA)
        texts = {entry.get(_KEY): entry.get(_VALUE, b"") for entry in entries}
        return ModelCard.model_validate_json(texts.get(b"model_card", b""))
    try:
        with zipfile.ZipFile(path) as archive:
            return ModelCard.model_validate_json(archive.read("model_card.json"))
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(str(error)) from None


def _sealed(data: bytes) -> bytes:
    body = memoryview(data)[: -len(_DIGEST)]
    return bytes(body) + hashlib.sha256(body).hexdigest().encode()
