"""Building what a recipe describes: its data, whole or for a model's classes."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import make, named, save_idx, save_npz, save_pictures

from tfmnist.data.bulk_decode import DecodingProgress
from tfmnist.data.sources import load
from tfmnist.data.split import Digits
from tfmnist.errors import InputError
from tfmnist.recipe import Data
from tfmnist.runs.build import load_events, load_labelled, load_section


@pytest.fixture
def untested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TFMNIST_CACHE", str(tmp_path / "cache"))
    return save_pictures(tmp_path / "untested")


def test_a_section_is_loaded_with_all_its_keys(tmp_path: Path) -> None:
    path = named(tmp_path / "a.npz", train=200)
    section = Data(source=str(path), validation=9, classes=4, only=("c", "a"), per_class=5, test_share=0.3)
    ours = load_section(section, 3)
    theirs = load(path, validation=9, seed=3, classes=4, only=("c", "a"), per_class=5, test_share=0.3)
    for left, right in ((ours.train, theirs.train), (ours.validation, theirs.validation), (ours.test, theirs.test)):
        assert left.sha256 == right.sha256
    assert ours.class_names == ("c", "a") and len(ours.validation) == 9 and len(ours.train) == 10


def test_transposed(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "a.npz", make())
    turned = load_section(Data(source=str(path), validation=0, transpose=True), 0)
    assert turned.image_shape == (7, 5) and turned.sha256 == load(path, validation=0, transpose=True).sha256


def test_broken_pictures_are_left_out_where_asked_for(untested: Path, tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    shutil.copytree(untested, root)
    (root / "two" / "3.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"two.3\.png"):
        load_section(Data(source=str(root), validation=0), 0)
    digits = load_section(Data(source=str(root), validation=0, skip_broken=True), 0)
    assert len(digits.train) + len(digits.test) == 66
    assert len(digits.notes) == 2 and "3.png" in digits.notes[0] and "no test set" in digits.notes[1]


def test_events_come_where_pictures_are_decoded(untested: Path, tmp_path: Path) -> None:
    def follow(source: Path | str) -> tuple[list[Any], Digits]:
        events, loading = [], load_events(Data(source=str(source), validation=3), 1)
        try:
            while True:
                events.append(next(loading))
        except StopIteration as end:
            return events, end.value

    events, digits = follow(untested)
    assert events and all(isinstance(event, DecodingProgress) for event in events)
    assert events[-1].done == events[-1].total == 67
    assert follow(untested)[0] == []  # the cache has them
    assert digits.sha256 == follow(untested)[1].sha256 == load(untested, validation=3, seed=1).sha256
    for source in ("mnist", save_npz(tmp_path / "a.npz", make()), save_idx(tmp_path / "idx", make())):
        events, digits = follow(source)
        assert events == [] and digits.sha256 == load(source, validation=3, seed=1).sha256
    with pytest.raises(InputError, match="does not exist"):
        follow(tmp_path / "nothing")


def labelled(path: Path, names: str, **options: Any) -> Digits:
    return load_labelled(Data(source=str(path), **{"validation": 0, **options}), list(names), 0)


def test_data_with_the_models_classes_is_as_it_is(tmp_path: Path) -> None:
    path = named(tmp_path / "a.npz")
    digits = labelled(path, "abcd", validation=8)
    assert digits.sha256 == load(path, validation=0).sha256
    assert len(digits.validation) == 8 and digits.class_names == tuple("abcd")


def test_classes_that_got_names_later_are_known_by_the_digest(tmp_path: Path) -> None:
    data = Data(source=str(named(tmp_path / "a.npz")), validation=0)
    trained_on = load(data.source, validation=0).sha256
    digits = load_labelled(data, list("0123"), 0, trained_on)
    assert digits.class_names == tuple("0123") and digits.sha256 == trained_on
    for names, other in ((list("0123"), "no digest"), (list("01234"), trained_on), (list("0123"), "")):
        with pytest.raises(InputError, match="its classes are a, b, c, d, expected some of the model's"):
            load_labelled(data, names, 0, other)


@pytest.mark.parametrize("names", ["dcba", "bd", "dab", "xbyd"])
def test_labels_become_places_among_the_models_classes(tmp_path: Path, names: str) -> None:
    path = named(tmp_path / "a.npz")
    whole, digits = load(path, validation=0), labelled(path, names, validation=4)
    assert digits.class_names == tuple(names)
    for theirs, ours in ((whole.train, [digits.train, digits.validation]), (whole.test, [digits.test])):
        for old, name in enumerate("abcd"):
            wanted = sorted(image.tobytes() for image in theirs.images[theirs.labels == old] if name in names)
            found = [s.images[s.labels == names.index(name)] for s in ours if name in names]
            assert sorted(image.tobytes() for images in found for image in images) == wanted


def test_data_may_lack_classes_of_the_model(tmp_path: Path) -> None:
    arrays = make(classes=2)
    changed = {name: np.array([3, 7])[arrays[name]] for name in ("y_train", "y_test")}
    digits = labelled(save_npz(tmp_path / "a.npz", arrays, **changed), "0123456789")
    assert digits.class_names == tuple("0123456789")
    np.testing.assert_array_equal(digits.test.labels, changed["y_test"])
    fewer = labelled(save_npz(tmp_path / "b.npz", arrays), "0123456789")
    np.testing.assert_array_equal(fewer.test.labels, arrays["y_test"])


def test_data_without_any_of_the_models_classes(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        labelled(named(tmp_path / "a.npz"), "xy")
    message = str(caught.value)
    assert "its classes are a, b, c, d, expected some of the model's, x, y" in message and message.isprintable()


def test_data_that_cannot_be_loaded_for_a_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        labelled(tmp_path / "nothing", "ab")
    (tmp_path / "a.npz").write_bytes(b"")
    with pytest.raises(InputError, match=r"not a readable \.npz"):
        labelled(tmp_path / "a.npz", "ab")


def test_numbered_classes_of_a_model_are_found(tmp_path: Path) -> None:
    x, y = np.arange(640, dtype=np.uint16).reshape(40, 4, 4) % 256, np.array([3, 7] * 20)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    digits = load_labelled(Data(source=str(tmp_path / "a.npz"), validation=0), ["7", "3"], 0)
    assert digits.test.labels[:2].tolist() == [1, 0]
