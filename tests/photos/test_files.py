"""A user's own picture files: read as they are, or refused in one helpful line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfmnist.errors import InputError
from tfmnist.photos.files import read_photo

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


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "No such file" in complaint(tmp_path / "none.png")
    assert "directory" in complaint(tmp_path)
    path = tmp_path / "digit.png"
    path.touch()
    assert "cannot read" in complaint(path / "digit.png")
    with pytest.raises(InputError, match="null"):
        read_photo("digit\0.png")
    assert "the file is empty; expected a whole PNG or JPEG picture" in complaint(path)
    path.write_text("a text")
    assert "not a PNG, JPEG, BMP, GIF, TIFF or WebP picture; expected" in complaint(path)
    Image.fromarray(DIGIT).save(path)
    path.write_bytes(path.read_bytes()[:100])
    assert "damaged: " in complaint(path) and "save it as one" in complaint(path)
