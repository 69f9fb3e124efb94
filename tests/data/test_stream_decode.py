"""Streamed pictures as blocks: one size or scaled to one, unreadable ones named, nothing lost between batches."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from picture_folders import image, make, save

from tfmnist.data import stream_decode
from tfmnist.data.layout import LeftOut
from tfmnist.data.stream_decode import Block, Decoder, decode_stream, fit
from tfmnist.data.streams import Example, Stream, open_folder
from tfmnist.errors import InputError


def read(root: Path, left_out: LeftOut | None = None) -> tuple[list[Block], dict[str, int]]:
    labels: dict[str, int] = {}
    return list(decode_stream(open_folder(root), Decoder(None), labels, left_out)), labels


@pytest.mark.parametrize("batch", [1, 4, 1000])
@pytest.mark.parametrize("small", [0, 1 << 13])
def test_blocks(tmp_path: Path, batch: int, small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_decode, "_BATCH", batch)
    monkeypatch.setattr(stream_decode, "SMALL", small)
    blocks, labels = read(make(tmp_path))
    assert labels == {"0": 0, "1": 1, "2": 2}
    for role, numbers, classes in (("train", range(1, 10), 3), ("test", range(10, 16), 2)):
        images = np.concatenate([images for some, images, _ in blocks if some == role])
        np.testing.assert_array_equal(images, np.stack([image(number) for number in numbers]))
        found = np.concatenate([labels for some, _, labels in blocks if some == role])
        assert found.tolist() == np.repeat([0, 1, 2], classes).tolist() and found.dtype == np.int64


def test_broken_pictures(tmp_path: Path) -> None:
    root = make(tmp_path)
    for name in ("train/0/0.png", "train/0/1.png"):
        (root / name).write_bytes(b"x")
    with pytest.raises(InputError) as caught:
        read(root)
    assert str(caught.value) == (
        f"{root / 'train/0/0.png'}: a broken picture (not a PNG, JPEG, BMP, GIF, TIFF or WebP picture); fix or delete "
        "it, or leave broken pictures out with --skip-broken."
    )
    left_out = LeftOut()
    blocks, labels = read(root, left_out)
    assert sum(len(images) for _, images, _ in blocks) == 13 and labels == {"0": 0, "1": 1, "2": 2}
    assert left_out.count == 2 and left_out.names[0].startswith(f"{root / 'train/0/0.png'} (not a PNG")


def test_unequal_sizes(tmp_path: Path) -> None:
    root = make(tmp_path)
    save(root / "test" / "1" / "0.png", image(shape=(7, 5)))
    with pytest.raises(InputError) as caught:
        read(root)
    assert str(caught.value) == (
        f"{root / 'test/1/0.png'}: 5x7 pixels, expected 7x5 like {root / 'train/0/0.png'}; scale all to one size, such "
        "as --size 28x28."
    )
    blocks = list(decode_stream(open_folder(root), Decoder((6, 4)), {}, None))
    assert {images.shape[1:] for _, images, _ in blocks} == {(6, 4)}


def test_too_many_classes() -> None:
    def examples() -> Iterator[Example]:
        for number in range(10_000):
            yield Example("train", str(number), f"x: {number}", b"")
        raise AssertionError("read to the end")

    with pytest.raises(InputError, match="class folders, expected 2 to 1000"):
        list(decode_stream(Stream(examples()), Decoder(None), {}, LeftOut()))


def test_fit() -> None:
    np.testing.assert_array_equal(fit(image(), (5, 7)), image())
    wide = np.full([10, 40], 200, np.uint8)
    wide[3:7, 10:30] = 20
    fitted = fit(wide, (20, 20))
    assert fitted.shape == (20, 20) and fitted[0, 0] == fitted[-1, 10] == 200
    ink = (200 - fitted.astype(float)) / 180
    assert abs(ink.sum() - 20) < 1 and np.count_nonzero(ink.max(axis=0) > 0.5) == 10  # half as wide, half as high
    rows, columns = np.nonzero(ink > 0.1)
    assert abs(rows.mean() - 9.5) <= 1 and abs(columns.mean() - 9.5) <= 0.5  # centred
    light = fit(255 - wide, (20, 20))
    np.testing.assert_allclose(light.astype(int), 255 - fitted.astype(int), atol=1)
