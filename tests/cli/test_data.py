"""`tfmnist data show` and `data convert`: what they print and write."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageDraw

from tfmnist.data.sources import load
from tfmnist.photos import normalize as photos

Command = Callable[..., tuple[int, str, str]]
Complaint = Callable[..., str]


def make(root: Path, side: int = 8, count: int = 4) -> Path:
    """Class folders "a" and "b" of pictures with a dark stroke on a light ground."""
    for label, name in enumerate("ab"):
        (root / name).mkdir(parents=True)
        for number in range(count):
            picture = Image.new("L", (side, side), 240)
            ends = [(side // 4 * (1 + label), side // 4), (side // 2, side * 3 // 4)]
            ImageDraw.Draw(picture).line(ends, fill=20 + number, width=max(side // 10, 1))
            picture.save(root / name / f"{number}.png")
    return root


def test_show(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = make(tmp_path / "letters", count=20)
    (root / "a" / "notes.txt").touch()
    code, out, errors = command("data", "show", root)
    assert code == 0 and errors == "" and max(map(len, out.splitlines()[1:5])) <= 80
    digits = load(root, validation=0)
    for line in (
        f"source    {root}",
        "images    8 x 8, light ground, dark ink",
        "examples  34 for training, 6 for test",
        f"sha256    {digits.sha256}",
        "note      left out 1 file or folder that is not a picture in a class folder: a/notes.txt",
        "note      no test set in the source: 6 of its examples are held out as one",
        "class  training  test",
        "a            17     3",
        "letters-pictures.png",
    ):
        assert line in out.splitlines(), out
    with Image.open(tmp_path / "letters-pictures.png") as sheet:
        assert sheet.format == "PNG" and sheet.width == 1020
    (root / "val").mkdir()
    assert command("data", "show", root, "--out", tmp_path / "x.png")[0] == 2


def test_show_mixed_grounds(tmp_path: Path, command: Command) -> None:
    root = make(tmp_path / "x", count=20)
    for path in (root / "b").iterdir():
        with Image.open(path) as picture:
            inverse = 255 - np.asarray(picture)
        Image.fromarray(inverse).save(path)
    assert (
        "8 x 8, dark ground in 50%, light in the others"
        in command("data", "show", root, "--out", tmp_path / "x.png")[1]
    )


def test_convert(tmp_path: Path, command: Command) -> None:
    root = make(tmp_path / "x", count=20)
    code, out, errors = command("data", "convert", root, tmp_path / "idx")
    assert code == 0 and errors == ""
    assert out.splitlines() == [
        "note: no test set in the source: 6 of its examples are held out as one",
        "34 for training, 6 for test; 2 classes, 8 x 8",
        str(tmp_path / "idx"),
    ]
    assert load(root, validation=0).sha256 == load(tmp_path / "idx", validation=0).sha256
    assert command("data", "convert", root, tmp_path / "small", "--size", "4x6")[0] == 0
    assert load(tmp_path / "small", validation=0).image_shape == (4, 6)


def test_convert_photos(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make(tmp_path / "x", side=90, count=6)
    Image.new("L", (80, 80), 200).save(root / "b" / "blank.bmp")
    (root / "b" / "broken.jpg").write_bytes(b"x")

    def normalize(contents: Any, image_format: photos.ImageFormat) -> tuple[Any, ...]:
        """What the pictures' first pixels are; the light blank one cannot be read."""
        first = tf.map_fn(lambda data: tf.io.decode_png(data, 1)[0, 0, 0], contents, fn_output_signature=tf.uint8)
        images = tf.tile(first[:, None, None], [1, image_format.height, image_format.width])
        images = tf.concat([images[:, :1] // 2, images[:, 1:]], axis=1)
        return images, tf.ones_like(first, tf.int64), tf.cast(tf.equal(first, 200), tf.int64) * 3

    monkeypatch.setattr(photos, "normalize", normalize)
    code, out, _ = command("data", "convert", root, tmp_path / "idx", "--photos", "--size", "9x7")
    assert code == 0
    note = "note: left out 2 photos in which no digit could be read: "
    assert note in out and "blank.bmp (over 64 megapixels; shrink it)" in out
    assert "broken.jpg (not a PNG, JPEG, BMP, GIF, TIFF or WebP picture)" in out
    digits = load(tmp_path / "idx", validation=0)
    assert digits.image_shape == (9, 7) and len(digits.train) + len(digits.test) == 12
    assert (digits.train.images[:, 1:] == 240).all() and (digits.train.images[:, 0] == 120).all()


def test_wrong_usage(tmp_path: Path, complaint: Complaint) -> None:
    assert "--size 28: expected a height and a width" in complaint("data", "convert", "mnist", tmp_path, "--size", "28")
    assert "--out a.jpg: expected a .png file" in complaint("data", "show", "mnist", "--out", "a.jpg")
    assert "does not exist" in complaint("data", "show", tmp_path / "nowhere")
    assert "does not exist" in complaint("data", "convert", tmp_path / "nowhere", tmp_path / "x", "--photos")
