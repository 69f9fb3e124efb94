"""Statuses: their numbers are in exported models, so they never change; each is explained in one line."""

from tfmnist.photos.status import Status

NUMBERS = {
    "READ": 0,
    "NO_PICTURE": 1,
    "DAMAGED": 2,
    "TOO_LARGE": 3,
    "WEBP": 4,
    "TIFF": 5,
    "HEIC": 6,
    "BLANK": 7,
    "SEVERAL": 8,
    "TOUCHING": 9,
    "CROSSED": 10,
}


def test_numbers_stay() -> None:
    assert {status.name: int(status) for status in Status} == NUMBERS


def test_each_is_explained_in_one_line_with_what_to_do() -> None:
    lines = [status.explain() for status in Status]
    assert len(set(lines)) == len(Status)
    for status, line in zip(Status, lines):
        assert line.isprintable() and line.endswith(".") and len(line) <= 100
        assert status == Status.READ or any(word in line for word in ("save", "shrink", "crop", "closer"))
    assert all(status.name in status.explain().upper() for status in (Status.WEBP, Status.TIFF, Status.HEIC))
