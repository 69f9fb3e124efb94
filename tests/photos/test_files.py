"""A user's own picture files: found, read as they are or as PNG, or refused in one helpful line."""

import io
from pathlib import Path

import numpy as np
import pytest
from drawings import encode
from PIL import Image

from tfmnist.errors import InputError
from tfmnist.photos.files import list_photos, read_all, read_photo, to_readable
from tfmnist.system.pictures import PNG, UnreadablePicture

DIGIT = np.random.default_rng(0).integers(0, 256, [28, 28], np.uint8)


def complaint(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_photo(path)
    assert str(caught.value).isprintable() and str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_is_read_as_it_is_whatever_its_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "dïgit 1.txt"
    Image.fromarray(DIGIT).save(path, kind)
    assert read_photo(path) == read_photo(str(path)) == path.read_bytes()


@pytest.mark.parametrize("kind", ["BMP", "GIF", "TIFF", "WEBP"])
def test_other_kinds_become_png(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "digit"
    path.write_bytes(encode(DIGIT, kind, **({"lossless": True} if kind == "WEBP" else {})))
    converted = read_photo(path)
    assert converted.startswith(PNG) and converted == to_readable(path.read_bytes())
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(converted)).convert("L")), DIGIT)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "No such file" in complaint(tmp_path / "none.png")
    assert "directory" in complaint(tmp_path)
    path = tmp_path / "digit.png"
    path.touch()
    assert "cannot read" in complaint(path / "digit.png")
    with pytest.raises(InputError, match="null"):
        read_photo("digit\0.png")
    assert complaint(path).endswith("the file is empty; expected an intact picture; save it as PNG or JPEG.")
    path.write_text("a text")
    assert "not a PNG, JPEG, BMP, GIF, TIFF or WebP picture; expected" in complaint(path)
    for kind in ("BMP", "GIF", "TIFF", "WEBP"):
        path.write_bytes(encode(DIGIT, kind)[:60])
        assert "damaged: " in complaint(path) and "save it as PNG or JPEG" in complaint(path)


def test_files_of_all_kinds_are_read_together() -> None:
    png, webp = encode(DIGIT), encode(DIGIT, "WEBP")
    contents, reasons = read_all([png, b"a text", webp, b""])
    assert contents == {0: png, 2: to_readable(webp)}
    assert reasons == ["", "not a PNG, JPEG, BMP, GIF, TIFF or WebP picture", "", "the file is empty"]
    with pytest.raises(UnreadablePicture, match="not a PNG"):
        to_readable(b"a text")


def test_a_folder_is_its_files(tmp_path: Path) -> None:
    for name in ("b.png", "a.txt", ".hidden.png"):
        (tmp_path / name).touch()
    (tmp_path / "c.png").mkdir()
    assert list_photos(str(tmp_path)) == [str(tmp_path / "a.txt"), str(tmp_path / "b.png")]
    assert list_photos("anything.png") == ["anything.png"]
    with pytest.raises(InputError, match="no files in this folder, expected pictures"):
        list_photos(str(tmp_path / "c.png"))
