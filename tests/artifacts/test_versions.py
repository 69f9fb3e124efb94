"""Versions of exported models: which one a path stands for, and whether its files are as they were written."""

import os
from pathlib import Path

import pytest

from tfmnist.artifacts.card import ModelCard
from tfmnist.artifacts.versions import (
    compare_files,
    find_version,
    list_versions,
    next_version,
    read_card,
    staged_version,
    write_manifest,
)
from tfmnist.errors import InputError


def make(version: Path) -> Path:
    (version / "variables").mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"a graph")
    (version / "variables" / "data").write_bytes(b"weights")
    ModelCard(loss="quadratic", image_shape=(6, 5), class_names=("a", "b")).write(version)
    write_manifest(version)
    return version


def test_the_newest_version_is_found(tmp_path: Path) -> None:
    model = tmp_path / "run" / "model"
    for name in ("2", "9", "10"):
        make(model / name)
    (model / "11").mkdir()
    (model / "12").touch()
    (model / ".writing-0").mkdir()
    assert list_versions(model) == [2, 9, 10], "an empty folder is no version"
    assert next_version(model) == 13
    assert find_version(tmp_path / "run") == find_version(str(model)) == find_version(model / "10") == model / "10"
    assert find_version(model / "2") == model / "2"


def test_an_incomplete_newest_version_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(tmp_path / "1")
    (make(tmp_path / "2") / "saved_model.pb").unlink()
    assert find_version(tmp_path) == tmp_path / "1"
    (message,) = caplog.messages
    assert message.startswith(f"{tmp_path / '2'}: incomplete, has none of saved_model.pb, model.onnx")
    assert message.endswith("version 1 answers instead.")


def test_what_killed_processes_have_left_is_deleted_later(tmp_path: Path) -> None:
    old, young = tmp_path / ".writing-0a1b2c3d", tmp_path / ".writing-4e5f6a7b"
    for folder in (old, young):
        (folder / "variables").mkdir(parents=True)
    os.utime(old, (1e9, 1e9))
    with staged_version(tmp_path, "saved_model.pb") as folder:
        assert sorted(tmp_path.iterdir()) == sorted([young, folder])


def test_paths_without_a_model_are_named(tmp_path: Path) -> None:
    assert list_versions(tmp_path / "nothing") == []
    with pytest.raises(InputError, match="does not exist"):
        find_version(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"holds no exported model .*; give another folder"):
        find_version(tmp_path)
    (tmp_path / "recipe.toml").touch()
    with pytest.raises(InputError, match=r"'tfmnist info .*' shows the state of this run"):
        find_version(tmp_path)


def test_damage_is_named(tmp_path: Path) -> None:
    version = make(tmp_path / "1")
    assert read_card(version).class_names == ("a", "b")
    data = version / "variables" / "data"
    data.write_bytes(b"weighty")
    with pytest.raises(InputError, match=r"variables/data: damaged, its SHA-256"):
        read_card(version)
    data.unlink()
    with pytest.raises(InputError, match=r"variables/data: missing; export the model again"):
        read_card(version)
    data.write_bytes(b"weights")
    for name in ("notes.txt", "variables/.data.part"):
        (version / name).touch()
        with pytest.raises(InputError, match=rf"{name}: not in the manifest, so not part of the model; move it"):
            read_card(version)
        (version / name).unlink()
    (version / "link").symlink_to("nowhere")
    with pytest.raises(InputError, match="link: not in the manifest"):
        read_card(version)
    (version / "link").unlink()
    (version / "assets.extra" / "model_card.json").write_text("{}")
    (version / "assets.extra" / "manifest.sha256").unlink()
    write_manifest(version)
    with pytest.raises(InputError, match="manifest or model card is damaged"):
        read_card(version)


def test_every_file_is_compared_with_the_manifest(tmp_path: Path) -> None:
    version = make(tmp_path / "1")
    card = "assets.extra/model_card.json"
    assert compare_files(version) == dict.fromkeys((card, "saved_model.pb", "variables/data"), "intact")
    (version / "saved_model.pb").write_bytes(b"another graph")
    (version / "variables" / "data").unlink()
    (version / "variables" / "notes.txt").touch()
    assert compare_files(version) == {
        card: "intact",
        "saved_model.pb": "damaged",
        "variables/data": "missing",
        "variables/notes.txt": "not in the manifest",
    }
    for text in ("nothing like it\n", "", "{}"):
        (version / "assets.extra" / "manifest.sha256").write_text(text)
        with pytest.raises(InputError, match="its manifest or model card is damaged"):
            compare_files(version)
    (version / "assets.extra" / "manifest.sha256").unlink()
    with pytest.raises(InputError, match=r"manifest\.sha256: cannot read it: No such file"):
        compare_files(version)
