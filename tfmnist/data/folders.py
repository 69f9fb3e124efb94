"""Pictures in class folders as a source; decoded once, then read from a cache by the files' content.

Layouts are `ROOT/train/<class>/*` with or without `ROOT/test/<class>/*`, or `ROOT/<class>/*` alone; pictures are PNG
and JPEG files.
"""

import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Generator, Iterable
from functools import partial
from itertools import chain, product
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from tfmnist.data.bulk_decode import (
    DecodingProgress,
    Listing,
    decode_files,
    digest_files,
    find_readable,
    printable,
    process_files,
)
from tfmnist.data.split import MOST_CLASSES, Images, Labels, Part, Source
from tfmnist.errors import InputError, check_name
from tfmnist.system.cache import ArrayCache, find_cache

_ENDS = (".png", ".jpg", ".jpeg")
_TICK = 2 * 10**9  # ns: a file this new may change again without its times changing
_NAMED = 3  # broken pictures that a note names
_DIGITS = str.maketrans("123456789", "000000000")
# To be changed if the arrays change but no picture does; other versions of Pillow may round JPEGs differently.
_VERSION = f"tfmnist pictures 2, Pillow {PIL.__version__}"


def is_picture_folder(folder: Path) -> bool:
    """Returns whether a folder has class folders and a picture in them; looks no further than the first picture."""
    try:
        train, _ = _find_parts(folder)
        return any(_has_picture(train / name) for name in _list_folders(train))
    except (OSError, ValueError):
        return False


def read_folder(
    folder: Path, *, skip_broken: bool = False, cache: Path | None = None
) -> Generator[DecodingProgress, None, Source]:
    """Reads pictures in class folders, and decodes what the cache lacks.

    Class names are the folders' names, whole numbers in their order before other names in natural order ("b2" before
    "b10"); a label is the index in that order. Examples are sorted by class, then naturally by file name.

    Args:
        folder: `<class>/*.png` (or .jpg, .jpeg) in `train/`, and perhaps in `test/`; or in the folder itself.
        skip_broken: leaves out, and notes, pictures that cannot be decoded.
        cache: where decoded arrays are cached; None for the user's cache folder.

    Yields:
        About 50 times at most, the last with `done == total`; nothing if the cache has everything.

    Returns:
        Images uint8 `[n, height, width]`, grey by ITU-R BT.601, transparent areas white, mapped from the cache;
        labels int64 `[n]`; both read-only. No test part if there is no folder `test/`.

    Raises:
        InputError: another layout, an empty class, fewer than two classes, pictures of unequal size, a broken picture,
            or one that cannot be read.
    """
    started = time.time_ns()
    listing = _scan(folder)
    lasting = listing.newest < started - _TICK
    store = ArrayCache(cache or find_cache())
    arrays = store.find(listing.fingerprint)
    if not arrays and store.has(_start_key(listing)):
        key = _make_key(listing, chain.from_iterable(process_files(listing, digest_files)))
        arrays = store.open(key)
        if lasting:
            store.remember(key, listing.fingerprint)
    if arrays and (skip_broken or not len(arrays["skipped"])):
        return _to_source(listing, arrays["images"], arrays["skipped"])

    total = len(listing.names)
    model, shape = find_readable(listing, skip_broken)
    images = np.empty([total, *shape], np.uint8)
    digests: list[bytes] = []
    broken: dict[int, str] = {}
    for results in process_files(listing, partial(decode_files, listing, images, model, skip_broken)):
        broken |= {index: reason for index, (_, reason) in enumerate(results, len(digests)) if reason}
        digests += [digest for digest, _ in results]
        yield DecodingProgress(len(digests), total)
    _check_classes(listing, broken)
    skipped = np.array(list(broken), np.int64)
    if broken:
        images = np.delete(images, skipped, axis=0)
    key = _make_key(listing, digests)
    arrays = store.write(key, {"images": images, "skipped": skipped})
    if lasting:
        store.remember(key, listing.fingerprint)
    return _to_source(listing, arrays["images"] if arrays else images, skipped)


# Listing the pictures


def _find_parts(folder: Path) -> tuple[Path, Path | None]:
    """Returns the folders that hold the class folders for training, and for test if there is one."""
    train, test = folder / "train", folder / "test"
    if not train.is_dir():
        return folder, None
    if not _list_folders(train) and set(_list_folders(folder)) - {"train", "test"}:
        return folder, None  # "train" is a class, among others
    return train, test if test.is_dir() else None


def _list_folders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]


def _has_picture(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(_is_picture_name(entry.name) and entry.is_file() for entry in entries)


def _is_picture_name(name: str) -> bool:
    return name.lower().endswith(_ENDS) and not name.startswith(".")


def _natural(name: str) -> tuple[list[Any], str]:
    """Returns a sort key by which numbers in names count by value; text and numbers alternate in it."""
    parts: list[Any] = re.split("([0-9]+)", name)
    parts[1::2] = map(int, parts[1::2])
    return parts, name


def _class_order(name: str) -> tuple[Any, ...]:
    return (0, int(name), name) if re.fullmatch("[0-9]+", name) else (1, _natural(name))


def _sort_naturally(names: list[str]) -> list[str]:
    # If all names have their digits at the same positions, natural order is plain order; no name contains "/".
    alike = len(set("/".join(names).translate(_DIGITS).split("/"))) == 1
    return sorted(names) if alike else sorted(names, key=_natural)


def _scan(folder: Path) -> Listing:
    """Lists a folder's pictures and checks their layout; reads none."""
    groups: list[tuple[str, int, int]] = []
    names: list[str] = []
    states: list[tuple[int, int, int]] = []
    try:
        train, test = _find_parts(folder)
        class_names = sorted(_list_folders(train), key=_class_order)
        _check_names(train, class_names)
        if test and (unknown := sorted(set(_list_folders(test)) - set(class_names), key=_class_order)):
            raise InputError(
                f"{printable(test / unknown[0])}: a class that {printable(train)} lacks, expected a folder of that "
                "name in both; add training pictures, or remove the folder."
            )
        parts = (train, test) if test else (train,)
        for part, (label, name) in product(parts, enumerate(class_names)):
            pictures = _list_pictures(part / name) if part is train or (part / name).is_dir() else {}
            if pictures:
                files = _sort_naturally(list(pictures))
                prefix = (part / name).relative_to(folder).as_posix()
                names += [f"{prefix}/{file}" for file in files]
                states += [pictures[file] for file in files]
                groups.append(("train" if part is train else "test", label, len(files)))
            elif part is train:
                raise InputError(
                    f"{printable(part / name)}: no pictures in this class folder, expected at least one .png, .jpg or "
                    ".jpeg file; add some, or remove the folder."
                )
    except OSError as error:
        raise InputError(
            f"{printable(error.filename or folder)}: cannot read it: {error.strerror or error}, expected class folders "
            "with pictures; check path and rights."
        ) from None
    count = sum(count for part, _, count in groups if part == "train")
    if test and count == len(names):
        raise InputError(
            f"{printable(test)}: no pictures, expected some in class folders; add them, or remove the folder to have "
            "test examples drawn from the training pictures."
        )
    numbers = np.array(states, np.int64)
    size, newest = int(numbers[:, 0].sum()), int(numbers[:, 1:].max())
    about = json.dumps([_VERSION, groups]).encode() + os.fsencode("//".join(names))
    fingerprint = hashlib.sha256(about + numbers.astype("<i8").tobytes()).hexdigest()
    return Listing(folder, parts, tuple(class_names), groups, names, count, size, newest, fingerprint)


def _check_names(train: Path, class_names: list[str]) -> None:
    if len(class_names) < 2:
        problem = f"the only class folder is {printable(class_names[0])}" if class_names else "no class folders"
        raise InputError(
            f"{printable(train)}: {problem}, expected a folder with pictures for each of at least two classes; sort "
            "the pictures into class folders."
        )
    if len(class_names) > MOST_CLASSES:
        raise InputError(
            f"{printable(train)}: {len(class_names)} class folders, expected 2 to {MOST_CLASSES}; is this the right "
            "folder?"
        )
    for name in class_names:
        check_name(train / name)
        if not name.strip() or name.splitlines() != [name]:
            raise InputError(
                f"{printable(train / name)}: not a class name, expected one line that is not blank; rename the folder."
            )


def _list_pictures(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Returns the pictures of a folder by name, with size and the times of the last change of content and of status."""
    pictures: dict[str, tuple[int, int, int]] = {}
    with os.scandir(folder) as entries:
        for entry in entries:  # perhaps 70,000 of them, at every start
            if _is_picture_name(entry.name) and stat.S_ISREG((state := entry.stat()).st_mode):
                pictures[entry.name] = (state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    return pictures


def _start_key(listing: Listing) -> str:
    """Returns the part of the cache key that is known before any picture is read."""
    about = json.dumps([_VERSION, listing.class_names, listing.groups, listing.size])
    return hashlib.sha256(about.encode()).hexdigest()[:16]


def _make_key(listing: Listing, digests: Iterable[bytes]) -> str:
    """Returns the cache key: a hex digest of all that determines the arrays, which file names and times do not."""
    return _start_key(listing) + hashlib.sha256(b"".join(digests)).hexdigest()[:48]


# Arrays and labels


def _check_classes(listing: Listing, broken: dict[int, str]) -> None:
    """Checks that every class has a picture that can be decoded."""
    start = 0
    for _, _, count in listing.groups:
        if all(index in broken for index in range(start, start + count)):
            first = listing.names[start]
            raise InputError(
                f"{printable(listing.root / first)}: a broken picture ({broken[start]}), as are all {count} of its "
                "class, expected at least one that can be decoded; fix them, or remove the class folder."
            )
        start += count


def _to_source(listing: Listing, images: Images, skipped: Labels) -> Source:
    """Returns the source: images uint8 `[n, height, width]`, without those at the indices `skipped`, int64 `[s]`."""
    labels = np.repeat([label for _, label, _ in listing.groups], [count for _, _, count in listing.groups])
    labels = np.delete(labels.astype(np.int64), skipped)
    images.flags.writeable = labels.flags.writeable = False
    train = listing.train - int(np.count_nonzero(skipped < listing.train))
    parts = [
        Part(images[some], labels[some], str(path), str(path))
        for path, some in zip(listing.parts, (slice(train), slice(train, None)))
    ]
    notes: tuple[str, ...] = ()
    if len(skipped):
        named = [printable(listing.names[index]) for index in map(int, skipped[:_NAMED])]
        more = ["..."] if len(skipped) > _NAMED else []
        plural = "s" if len(skipped) > 1 else ""
        notes = (f"left out {len(skipped)} broken picture{plural}: {', '.join(named + more)}",)
    return Source(parts[0], parts[1] if len(parts) > 1 else None, listing.class_names, notes)
