"""How pictures lie in class folders: the parts of a data set, its classes, the order of examples, what is left out."""

import os
import re
import stat
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tfmnist.data.split import MOST_CLASSES
from tfmnist.errors import InputError, check_name, printable
from tfmnist.system.pictures import FORMATS

Role = Literal["train", "test", "validation"]
State = tuple[int, int, int]  # a file's size, and the times of the last change of its content and of its status, ns

ROLES: dict[str, Role] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
}  # of folders, by their names in lower case
LAYOUT = (
    "expected a folder of pictures for each of at least two classes: train/0/a.png, train/1/b.png, ... and perhaps "
    "test/0/c.png and val/0/d.png, ...; or just 0/a.png, 1/b.png, ..."
)
OTHERS = (
    "file or folder that is not a picture in a class folder",
    "files or folders that are not pictures in class folders",
)  # one and several of them
BROKEN = ("broken picture", "broken pictures")
_NAMED = 3  # files that a note names
_ENDS = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".heic", ".heif")
_JUNK = {"thumbs.db", "desktop.ini", "__macosx"}
_DIGITS = str.maketrans("123456789", "000000000")


@dataclass
class LeftOut:
    """What is not read: how many files, and the names of the first."""

    count: int = 0
    names: list[str] = field(default_factory=list[str])

    def add(self, *names: str) -> None:
        self.count += len(names)
        self.names += names[: max(_NAMED - len(self.names), 0)]

    def note(self, one: str, many: str) -> tuple[str, ...]:
        """Returns a note for the user, or none; `one` and `many` say what was left out."""
        if not self.count:
            return ()
        named = ", ".join([*map(printable, self.names), *(["..."] if self.count > _NAMED else [])])
        return (f"left out {self.count:,} {one if self.count == 1 else many}: {named}",)


def natural_order(name: str) -> tuple[list[Any], str]:
    """Returns a sort key by which numbers in names count by value; text and numbers alternate in it."""
    parts: list[Any] = re.split("([0-9]+)", name)
    parts[1::2] = map(int, parts[1::2])
    return parts, name


def class_order(name: str) -> tuple[Any, ...]:
    """Returns a sort key by which whole numbers come first, by value, before other names in natural order."""
    return (0, int(name), name) if re.fullmatch("[0-9]+", name) else (1, natural_order(name))


def is_picture_name(name: str) -> bool:
    """Returns whether a file's name ends like a picture's and is not hidden."""
    return name.lower().endswith(_ENDS) and not is_junk(name)


def is_junk(name: str) -> bool:
    """Returns whether a file or folder is hidden, or one that desktops leave everywhere."""
    return name.startswith(".") or name.casefold() in _JUNK


def check_classes(where: Path, class_names: Sequence[str]) -> None:
    """Checks the number of classes and that each name is one line; `where` is the folder or archive they are in."""
    if len(class_names) < 2:
        problem = f"the only class folder is {printable(class_names[0])}" if class_names else "no class folders"
        raise InputError(f"{printable(where)}: {problem}, {LAYOUT}")
    if len(class_names) > MOST_CLASSES:
        raise InputError(
            f"{printable(where)}: {len(class_names)} class folders, expected 2 to {MOST_CLASSES}; is this the right "
            "folder?"
        )
    for name in class_names:
        check_name(where / name)
        if not name.strip() or name.splitlines() != [name]:
            raise InputError(
                f"{printable(where / name)}: not a class name, expected one line that is not blank; rename the folder."
            )


def find_parts(folder: Path) -> dict[Role, Path]:
    """Returns the folders that hold the class folders, by role; the folder itself if it has no `train/`."""
    folders = _list_folder(folder)[0]
    parts: dict[Role, Path] = {}
    for name in folders:
        if role := ROLES.get(name.casefold()):
            if role in parts:
                raise InputError(
                    f"{printable(folder)}: both {printable(parts[role].name)} and {printable(name)}, expected one "
                    f"folder for {role}; move the pictures into one."
                )
            parts[role] = folder / name
    if "train" not in parts or (not _list_folder(parts["train"])[0] and len(folders) > len(parts)):
        return {"train": folder}  # "train" is a class, among others
    return {role: parts[role] for role in ROLES.values() if role in parts}


def list_groups(folder: Path, left_out: LeftOut) -> Iterator[tuple[Role, str, dict[str, State]]]:
    """Yields part by part, class by class, the pictures of a class in their order: role, class name, files with states.

    What is not a picture is added to `left_out`, relative to the folder.

    Raises:
        InputError: another layout, an empty class or part, or a class that only a test or validation part has.
    """
    parts = find_parts(folder)
    train = parts["train"]
    class_names = sorted(_list_folder(train)[0], key=class_order)
    check_classes(train, class_names)
    if train != folder:
        inner, files = _list_folder(folder)
        left_out.add(*(name for name in inner if folder / name not in parts.values()))
        left_out.add(*filter(is_picture_name, files))
    for role, part in parts.items():
        inner, files = _list_folder(part)
        if unknown := sorted(set(inner) - set(class_names), key=class_order):
            raise InputError(
                f"{printable(part / unknown[0])}: a class that {printable(train)} lacks, expected a folder of that "
                "name in both; add training pictures, or remove the folder."
            )
        prefix = part.relative_to(folder)
        left_out.add(*((prefix / name).as_posix() for name in files if is_picture_name(name)))
        total = 0
        for name in filter(set(inner).__contains__, class_names):
            pictures, others = _list_pictures(part / name)
            if not pictures and role == "train":
                raise InputError(f"{printable(part / name)}: no pictures ({FORMATS}) directly in it, {LAYOUT}")
            left_out.add(*((prefix / name / other).as_posix() for other in others))
            total += len(pictures)
            if pictures:
                yield role, name, {file: pictures[file] for file in _sort_naturally(list(pictures))}
        if not total:
            raise InputError(
                f"{printable(part)}: no pictures, expected some in class folders; add them, or remove the folder to "
                f"have {role} examples drawn from the training pictures."
            )


def _list_folder(folder: Path) -> tuple[list[str], list[str]]:
    """Returns the names of the folders and of the files in a folder, without what desktops hide there."""
    with os.scandir(folder) as entries:
        names = [(entry.name, entry.is_dir()) for entry in entries if not is_junk(entry.name)]
    return [name for name, is_folder in names if is_folder], [name for name, is_folder in names if not is_folder]


def _list_pictures(folder: Path) -> tuple[dict[str, State], list[str]]:
    """Returns the pictures of a folder by name, with their states, and the names of what else is there."""
    pictures: dict[str, State] = {}
    others: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:  # perhaps 70,000 of them, at every start
            if is_picture_name(entry.name) and stat.S_ISREG((state := entry.stat()).st_mode):
                pictures[entry.name] = (state.st_size, state.st_mtime_ns, state.st_ctime_ns)
            elif not is_junk(entry.name):
                others.append(entry.name)
    return pictures, sorted(others, key=natural_order)


def _sort_naturally(names: list[str]) -> list[str]:
    # If all names have their digits at the same positions, natural order is plain order; no name contains "/".
    alike = len(set("/".join(names).translate(_DIGITS).split("/"))) == 1
    return sorted(names) if alike else sorted(names, key=natural_order)


@contextmanager
def reading(folder: Path) -> Generator[None]:
    """Turns an error of the system while a folder is listed into an `InputError`."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{printable(error.filename or folder)}: cannot read it: {error.strerror or error}, expected class folders "
            "with pictures; check path and rights."
        ) from None
