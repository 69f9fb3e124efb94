"""The model that is served: newer versions take over, broken ones are refused and named, old ones leave the memory."""

import gc
import logging
import shutil
import time
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tfmnist
from tfmnist.errors import InputError
from tfmnist.serving import models
from tfmnist.serving.messages import RequestError
from tfmnist.serving.models import ServedModel, Signature, Version, make_example
from tfmnist.serving.tensors import STRING, Spec


def copy(folder: Path, number: int) -> Path:
    return Path(shutil.copytree(folder / "1", folder / str(number)))


def states(model: ServedModel) -> dict[int, str]:
    return {number: status.state for number, status in model.statuses.items()}


def current(model: ServedModel) -> int:
    assert model.current
    return model.current.number


def warm_a_little(version: Version) -> None:
    """Computes with one signature: all of them take seconds, and the tests of the whole service do that."""
    version.signature("serving_default")({"images": np.zeros([1, 28, 28], np.uint8)})


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Version, "warm", warm_a_little)


def test_signatures_are_those_of_the_model(served: ServedModel, expected: tfmnist.Exported) -> None:
    version = served.find()
    assert {"serving_default", "float_images", "image_bytes"} <= version.signatures.keys()
    signature = version.signature("serving_default")
    assert signature.batches and list(signature.outputs) == ["classes", "logits", "probabilities"]
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28)).astype(np.uint8)
    outputs = signature({"images": images})
    np.testing.assert_array_equal(outputs["classes"], expected.predict(images).classes)
    assert list(outputs) == list(signature.outputs)
    with pytest.raises(RequestError, match='"x" not found') as error:
        version.signature("x")
    assert error.value.code == 400 and "image_bytes" in error.value.hint


def test_what_tensorflow_refuses_is_the_clients_fault(served: ServedModel) -> None:
    with pytest.raises(RequestError) as error:
        served.find().signature("serving_default")({"images": np.zeros([1, 3, 28], np.uint8)})
    assert error.value.code == 400 and "\n" not in error.value.message


def test_a_newer_version_takes_over_after_it_is_warm(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tfmnist.serving")
    model = ServedModel(model_folder, "m")
    warmed: list[tuple[int, int]] = []

    def note(version: Version) -> None:
        warm_a_little(version)
        warmed.append((version.number, current(model)))

    monkeypatch.setattr(Version, "warm", note)
    copy(model_folder, 2)
    copy(model_folder, 10)
    old = weakref.ref(model.find())
    assert model.check() is None
    assert current(model) == 10 and warmed[0] == (10, 1)
    assert states(model) == {1: "END", 10: "AVAILABLE"} and old() is None
    assert "serving version 10 of m" in caplog.text
    warmed.clear()
    model.check()
    assert not warmed


def test_an_old_version_answers_its_last_requests_and_goes(model_folder: Path) -> None:
    model = ServedModel(model_folder, "m")
    busy = model.find()
    copy(model_folder, 2)
    model.check()
    assert states(model) == {1: "UNLOADING", 2: "AVAILABLE"}
    assert len(busy.signature("serving_default")({"images": np.zeros([1, 28, 28], np.uint8)})["classes"]) == 1
    del busy
    model.check()
    assert states(model) == {1: "END", 2: "AVAILABLE"}


def test_a_damaged_version_is_refused_and_named_once(model_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = ServedModel(model_folder, "m")
    bad = next((copy(model_folder, 3) / "variables").glob("*.data*"))
    data = bad.read_bytes()
    bad.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    copy(model_folder, 2)
    for _ in range(3):
        model.check()
    assert current(model) == 2
    assert model.statuses[3].state == "END" and model.statuses[3].error_code == "DATA_LOSS"
    assert bad.name in model.statuses[3].error_message and caplog.text.count("version 3 refused") == 1
    assert "version 3 refused, 2 is still served: " in caplog.text
    bad.write_bytes(data)  # mended
    model.check()
    assert current(model) == 3 and model.statuses[3].error_code == "OK"


def test_a_version_that_is_being_copied_waits(model_folder: Path) -> None:
    model = ServedModel(model_folder, "m")
    whole = [path for path in sorted((model_folder / "1").rglob("*")) if path.is_file()]
    for path in whole:
        assert current(model) == 1
        target = model_folder / "2" / path.relative_to(model_folder / "1")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes()[:-1])
        model.check()
        assert current(model) == 1 and model.statuses[2].error_message
        target.write_bytes(path.read_bytes())
        model.check()
    assert current(model) == 2


def test_a_version_that_cannot_compute_is_refused(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ServedModel(model_folder, "m")
    copy(model_folder, 2)

    def fail(version: Version) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(Version, "warm", fail)
    model.check()
    assert current(model) == 1 and model.statuses[2].error_code == "INTERNAL"
    assert model.statuses[2].error_message.endswith("2: no memory")
    shutil.rmtree(model_folder / "2")
    model.check()
    assert states(model) == {1: "AVAILABLE"}


def test_a_version_taken_away_makes_room_for_the_one_before(model_folder: Path) -> None:
    copy(model_folder, 2)
    model = ServedModel(model_folder, "m")
    shutil.rmtree(model_folder / "2")
    model.check()
    assert current(model) == 1
    shutil.rmtree(model_folder)
    model.check()
    assert current(model) == 1  # better than nothing


def test_what_can_be_served(model_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    copy(model_folder, 7)
    for path, number in ((model_folder, 7), (model_folder / "1", 1)):
        assert current(ServedModel(path, "m")) == number
    model = ServedModel(model_folder / "1", "m")
    model.check()
    assert current(model) == 1  # by itself, it is not watched for others
    (model_folder / "7" / "saved_model.pb").write_bytes(b"")
    assert current(ServedModel(model_folder, "m")) == 1 and "version 7 refused" in caplog.text
    (model_folder / "1" / "saved_model.pb").write_bytes(b"")
    with pytest.raises(InputError, match=r"saved_model\.pb: damaged"):
        ServedModel(model_folder, "m")
    with pytest.raises(InputError, match="does not exist"):
        ServedModel(tmp_path / "nothing", "m")


def test_finding_versions_and_unloading(model_folder: Path) -> None:
    model = ServedModel(model_folder, "m")
    assert model.find() is model.find(0) is model.find(1)
    for number, label, words in ((2, "", r"Specific\(m, 2\)"), (None, "x", r"Label\(m, x\)")):
        with pytest.raises(RequestError, match=words) as error:
            model.find(number, label)
        assert error.value.code == 404
    del error  # its traceback holds the version
    model.unload()
    assert states(model) == {1: "END"}
    model.check()
    with pytest.raises(RequestError, match="m is unloaded") as error:
        model.find()
    assert error.value.code == 503
    copy(model_folder, 2)
    model.load()
    assert current(model) == 2 and states(model) == {1: "END", 2: "AVAILABLE"}
    model.unload()
    for number in (1, 2):
        (model_folder / str(number) / "saved_model.pb").unlink()
    with pytest.raises(RequestError, match="no exported model") as error:
        model.load()
    assert error.value.code == 400


def test_the_folder_is_watched(model_folder: Path) -> None:
    model = ServedModel(model_folder, "m")
    model.watch(0.05)
    copy(model_folder, 2)
    until = time.monotonic() + 30
    while current(model) == 1 and time.monotonic() < until:
        time.sleep(0.05)
    model.close()
    assert current(model) == 2


def test_versions_do_not_stay_in_memory(model_folder: Path) -> None:
    model = ServedModel(model_folder, "m")
    old: list[weakref.ref[Signature]] = []
    for number in range(2, 5):
        old.append(weakref.ref(model.find().signature("serving_default")))
        copy(model_folder, number)
        model.check()
    gc.collect()
    assert current(model) == 4 and [signature() for signature in old] == [None] * 3


def test_a_file_has_the_signatures_of_its_card(tmp_path: Path, expected: tfmnist.Exported) -> None:
    path = tmp_path / "model.onnx"
    path.touch()
    inputs = {"images": {"dtype": "uint8", "shape": ["n", 6, 5]}, "names": {"dtype": "string", "shape": ["n"]}}
    card = {"signatures": {"serving_default": {"inputs": inputs, "outputs": {"classes": inputs["names"]}}}}
    version = Version(1, SimpleNamespace(path=path, card=card))  # type: ignore[arg-type]
    signature = version.signature("serving_default")
    assert signature.inputs == {
        "images": Spec("images", np.dtype(np.uint8), (None, 6, 5)),
        "names": Spec("names", STRING, (None,)),
    }
    assert signature.batches and list(signature.outputs) == ["classes"] and version.definitions == ({}, {})


def test_examples_hold_each_kind_of_value() -> None:
    example = models.tf.train.Example.FromString(make_example({"a": [b"x"], "b": [1, 2], "c": [1, 0.5], "d": []}))
    features = example.features.feature
    assert features["a"].bytes_list.value == [b"x"] and features["b"].int64_list.value == [1, 2]
    assert features["c"].float_list.value == [1, 0.5] and features["d"].bytes_list.value == []


def test_a_refused_version_that_was_removed_does_not_keep_the_others_from_loading(model_folder: Path) -> None:
    model = ServedModel(model_folder, "m")
    bad = copy(model_folder, 2)
    (bad / "saved_model.pb").unlink()
    model.check()
    assert current(model) == 1 and model.statuses[2].error_message
    shutil.rmtree(bad)
    model.load()
    assert current(model) == 1 and 2 not in model.statuses
