"""The published data sets by the names that their files have: which files belong together, and what their classes are.

Sources: the sites and archives of MNIST, Fashion-MNIST, EMNIST, KMNIST and K49, QMNIST; torchvision's folders; Kaggle.
"""

import os
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

from tfmnist.errors import InputError, few

_NAME = re.compile(
    r"(?P<prefix>.*?)(?P<part>train|t10k|test|validation)"
    r"(-(?P<idx>images|labels)[-.]idx\d-[a-z0-9]+|-(?P<npz>imgs|labels)\.npz|\.(?P<csv>csv))(\.gz)?"
)
_DEPTH = 3  # of folders: DATA/MNIST/raw/train-images-idx3-ubyte/
_FORMATS = ("idx", "npz", "csv")  # if a folder has the same data in two, the first is read

_DIGITS, _UPPER, _LOWER = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
_EMNIST = {  # by split; of some letters, upper and lower case are one class
    "byclass": (*_DIGITS, *_UPPER, *_LOWER),
    "bymerge": (*_DIGITS, *_UPPER, *"abdefghnqrt"),
    "balanced": (*_DIGITS, *_UPPER, *"abdefghnqrt"),
    "letters": tuple(map("".join, zip(_UPPER, _LOWER))),
    "digits": tuple(_DIGITS),
    "mnist": tuple(_DIGITS),
}
_KMNIST = tuple("おきすつなはまやれを")
_K49 = tuple("あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわゐゑをんゝ")
_FASHION = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
# By what a word in the path begins with: in the files' names, or in those of the nearest three folders.
_BY_PATH = {"fashion": _FASHION, "kmnist": _KMNIST, "kuzushiji": _KMNIST, "k49": _K49}


class FileSet(NamedTuple):
    """The files of one data set, by what is in them: "train images", "test labels", ...; "train rows" of a CSV."""

    folder: Path
    prefix: str  # of the files' names, such as "emnist-letters-"
    form: str  # "idx", "npz" or "csv"
    files: dict[str, Path]

    @property
    def missing(self) -> list[str]:
        """The names, as they are published, of the files that are needed but not there."""
        if self.form == "csv":
            return [] if "train rows" in self.files else [f"{self.prefix}train.csv"]
        ends = {"images": "imgs.npz", "labels": "labels.npz"}
        if self.form == "idx":
            labels = "labels-idx2-int" if self.prefix == "qmnist-" else "labels-idx1-ubyte"
            ends = {"images": "images-idx3-ubyte", "labels": labels}
        parts = {"train": "train", "test": "test" if self.prefix else "t10k"}
        return [
            f"{self.prefix}{parts[part]}-{ends[what]}"
            for part, what in product(parts, ends)
            if f"{part} {what}" not in self.files
        ]

    @property
    def has_validation(self) -> bool:
        """Whether there is a validation set, of images and labels, as `tfmnist data convert` writes it."""
        return {"validation images", "validation labels"} <= self.files.keys()

    @property
    def emnist_split(self) -> str:
        """EMNIST's split, such as "letters"; empty for other data. EMNIST's images lie sideways in its files."""
        match = re.match(r"emnist-([a-z]+)", self.prefix)
        return match[1] if match and match[1] in _EMNIST else ""

    @property
    def first_label(self) -> int:
        """What labels count from."""
        return int(self.emnist_split == "letters")

    def find_class_names(self, count: int) -> tuple[tuple[str, ...], str]:
        """Returns the names of `count` classes, and a note; both are empty if nothing says what the names are.

        They are in `labels.txt`, which may have more of them; or in EMNIST's `...mapping.txt`, or known.

        Raises:
            InputError: a file of names cannot be read, or has something else in it.
        """
        path, mapping = self.folder / "labels.txt", self.folder / f"{self.prefix}mapping.txt"
        if path.is_file():
            names = tuple(_read_lines(path))
            if len({name for name in names if name.strip()}) < len(names) or not names:
                raise InputError(
                    f"{path}: expected a class name in each line, none empty, none twice; correct it, or move it away."
                )
            return names, ""
        if split := self.emnist_split:
            names = _read_mapping(mapping) if mapping.is_file() else _EMNIST[split]
            return (names[:count] if count <= len(names) else ()), ""
        for place in (self.prefix, *reversed(self.folder.absolute().parts[-3:])):
            for word, names in _BY_PATH.items():
                if len(names) == count and re.search(rf"(?<![a-z]){word}", place.lower()):
                    return names, f"class names ({few(names, 3)}) go by {place!r} in the path"
        return (), ""


def find_file_set(path: Path) -> FileSet | None:
    """Returns the data set that a file belongs to, or that a folder holds; None if there is none.

    Args:
        path: any file of a data set, or a folder with its files in it, each perhaps in a folder of its own name, or in
            folders below, as in `MNIST/raw`; the nearest count.

    Raises:
        InputError: files are missing, or the folder holds more than one data set.
    """
    if path.is_dir():
        sets = _find_all(path, _DEPTH)
    elif (match := _NAME.fullmatch(path.name)) and (match["part"] == "train" or not match["csv"]):
        folder = path.parent.parent if _NAME.fullmatch(path.parent.name) else path.parent
        sets = [some for some in _find_all(folder, 1) if some[:3] == (folder, match["prefix"], _form(match))]
    elif path.name.endswith((".csv", ".csv.gz")):  # alone
        return FileSet(path.parent, path.name, "csv", {"train rows": path})
    else:
        return None
    sets = sorted(sets, key=lambda some: (bool(some.missing), len(some.folder.parts), _FORMATS.index(some.form)))
    if not sets:
        return None
    best = sets[0]
    if best.missing:
        raise InputError(
            f"{best.folder}: has {few([file.name for file in best.files.values()])}, but not {few(best.missing)}; "
            "expected all in one folder, plain or .gz."
        )
    key = len(best.folder.parts), best.form
    alike = [some for some in sets if not some.missing and (len(some.folder.parts), some.form) == key]
    if len(alike) > 1:
        firsts = [os.path.relpath(some.files.get("train images") or some.files["train rows"], path) for some in alike]
        raise InputError(
            f"{path}: {len(alike)} data sets, expected one; name one of their files as the source: {few(firsts, 8)}."
        )
    return best


def _find_all(folder: Path, depth: int) -> list[FileSet]:
    """Returns the data sets in a folder and in those below it, nearest first, complete or not."""
    sets: dict[tuple[Path, str, str], FileSet] = {}
    for path in _walk(folder, depth):
        if match := _NAME.fullmatch(path.name):
            home = path.parent
            if _NAME.fullmatch(home.name) and home != folder:
                home = home.parent
            key = home, match["prefix"], _form(match)
            part = match["part"].replace("t10k", "test")
            what = {"csv": "rows", "imgs": "images"}.get(kind := match[key[2]], kind)
            sets.setdefault(key, FileSet(*key, {})).files.setdefault(f"{part} {what}", path)
    return list(sets.values())


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """Yields the files of a folder, plain before `.gz`, then those of the folders in it."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: (entry.name.endswith(".gz"), entry.name))
    except OSError:
        return
    yield from (folder / entry.name for entry in entries if entry.is_file())
    for entry in entries:
        if depth and entry.is_dir() and not entry.name.startswith("."):
            yield from _walk(folder / entry.name, depth - 1)


def _form(match: re.Match[str]) -> str:
    return next(form for form in _FORMATS if match[form])


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read it: {error}, expected text in UTF-8; check the file.") from None


def _read_mapping(path: Path) -> tuple[str, ...]:
    """Reads lines `LABEL CODE ...`, such as `1 65 97`: the characters of each label, in its order."""
    try:
        rows = sorted([int(word) for word in line.split()] for line in _read_lines(path) if line.strip())
        names = tuple("".join(map(chr, codes)) for _, *codes in rows)
        if not all(names) or [row[0] for row in rows] != list(range(rows[0][0], rows[0][0] + len(rows))):
            raise ValueError
    except (ValueError, IndexError, OverflowError):
        raise InputError(
            f"{path}: expected a label and its character codes in each line, such as '1 65 97', and labels without "
            "gaps; copy or download it again."
        ) from None
    return names
