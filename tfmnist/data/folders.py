"""Pictures in class folders as a source, decoded once: a cache keeps their arrays, by the files' content.

Layouts are `ROOT/train/<class>/*` with or without `ROOT/test/<class>/*`, or `ROOT/<class>/*` alone; pictures are PNG
and JPEG files. Pillow decodes them, large ones in threads; small grey PNGs, where there are many, TensorFlow.
"""

import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Generator, Iterable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL

from tfmnist.data.bulk_decode import DecodingProgress, Listing, decode_files, digest_files, find_model, show, work
from tfmnist.data.split import MOST_CLASSES, Part, Source
from tfmnist.errors import InputError, check_name
from tfmnist.system.cache import PictureCache, find_cache

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

_ENDS = (".png", ".jpg", ".jpeg")
_TICK = 2 * 10**9  # ns: a file this new may change again without a change of its times
_NAMED = 3  # pictures left out that a note names
# What changes the arrays though no picture changes; other versions of Pillow may round a JPEG otherwise.
_VERSION = f"tfmnist pictures 2, Pillow {PIL.__version__}"


def is_picture_folder(folder: Path) -> bool:
    """Says whether a folder is laid out as this source wants it, and holds a picture; looks no further than the first.

    Example:
        >>> is_picture_folder(Path(__file__).parent)
        False
    """
    try:
        train, _ = _find_parts(folder)
        return any(_has_picture(train / name) for name in _list_folders(train))
    except (OSError, ValueError):
        return False


def read_folder(folder: Path, *, skip_broken: bool = False, cache: Path | None = None) -> Source:
    """Reads pictures in class folders; `read_folder_events` does it step by step.

    Class names are the folders' names, whole numbers in their order before other names in natural order ("b2" before
    "b10"); a label is the place in that order. Examples are sorted by class, then naturally by file name.

    Args:
        folder: `<class>/*.png` (or .jpg, .jpeg) in `train/`, and perhaps in `test/`; or in the folder itself.
        skip_broken: leaves out, and notes, pictures that cannot be decoded.
        cache: where decoded arrays are kept; None for the user's cache folder.

    Returns:
        Images uint8 `[n, height, width]`, grey by ITU-R BT.601, what is transparent white, mapped from the cache;
        labels int64 `[n]`; both read-only. No test part where there is no folder `test/`.

    Raises:
        InputError: another layout, an empty class, fewer than two classes, pictures of unequal size, a broken picture,
            or one that cannot be read.

    Example:
        >>> with tempfile.TemporaryDirectory() as name:
        ...     for label in "07":
        ...         Path(name, label).mkdir()
        ...         Image.new("L", (3, 2), int(label)).save(Path(name, label, "a.png"))
        ...     source = read_folder(Path(name), cache=Path(name, ".cache"))
        ...     source.train.images[:, 0].tolist(), source.train.labels.tolist(), source.class_names, source.test
        ([[0, 0, 0], [7, 7, 7]], [0, 1], ('0', '7'), None)
    """
    events = read_folder_events(folder, skip_broken=skip_broken, cache=cache)
    while True:
        try:
            next(events)
        except StopIteration as end:
            return end.value


def read_folder_events(
    folder: Path, *, skip_broken: bool = False, cache: Path | None = None
) -> Generator[DecodingProgress, None, Source]:
    """Decodes what the cache lacks, and returns what `read_folder` does; takes and raises what that does.

    Yields:
        About 50 times at most, the last with `done == total`; not at all where the cache has everything.

    Example:
        >>> with tempfile.TemporaryDirectory() as name:
        ...     for label in "07":
        ...         Path(name, label).mkdir()
        ...         Image.new("L", (3, 2), int(label)).save(Path(name, label, "a.png"))
        ...     list(read_folder_events(Path(name), cache=Path(name, ".cache")))
        [DecodingProgress(done=2, total=2)]
    """
    started = time.time_ns()
    listing = _scan(folder)
    lasting = listing.newest < started - _TICK
    store = PictureCache(cache or find_cache())
    found = store.find(listing.fingerprint)
    if not found and store.has(_start_key(listing)):
        key = _make_key(listing, chain.from_iterable(work(listing, digest_files)))
        found = store.open(key)
        if lasting:
            store.remember(key, listing.fingerprint)
    if found and (skip_broken or not len(found["skipped"])):
        return _to_source(listing, found["images"], found["skipped"])

    total = len(listing.names)
    model, shape = find_model(listing, skip_broken)
    images = np.empty([total, *shape], np.uint8)
    digests: list[bytes] = []
    broken: dict[int, str] = {}
    for results in work(listing, partial(decode_files, listing, images, model, skip_broken)):
        broken |= {place: reason for place, (_, reason) in enumerate(results, len(digests)) if reason}
        digests += [digest for digest, _ in results]
        yield DecodingProgress(len(digests), total)
    _check_classes(listing, broken)
    skipped = np.array(list(broken), np.int64)
    if broken:
        images = np.delete(images, skipped, axis=0)
    key = _make_key(listing, digests)
    found = store.write(key, {"images": images, "skipped": skipped})
    if lasting:
        store.remember(key, listing.fingerprint)
    return _to_source(listing, found["images"] if found else images, skipped)


# Finding the pictures


def _find_parts(folder: Path) -> tuple[Path, Path | None]:
    """Returns the folders that hold the class folders for training, and for test if there is one."""
    train, test = folder / "train", folder / "test"
    if train.is_dir() and not _list_folders(train) and set(_list_folders(folder)) - {"train", "test"}:
        return folder, None  # "train" is a class, among others
    if not train.is_dir():
        return folder, None
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
    """Sorts the numbers within names by value; texts and numbers alternate, so only like is compared with like."""
    parts: list[Any] = re.split("([0-9]+)", name)
    parts[1::2] = map(int, parts[1::2])
    return parts, name


def _class_order(name: str) -> tuple[Any, ...]:
    return (0, int(name), name) if re.fullmatch("[0-9]+", name) else (1, _natural(name))


_DIGITS = str.maketrans("123456789", "000000000")


def _sort_naturally(names: list[str]) -> list[str]:
    # Where digits stand in the same places, natural order is plain order; "/" is in no name.
    alike = len(set("/".join(names).translate(_DIGITS).split("/"))) == 1
    return sorted(names) if alike else sorted(names, key=_natural)


def _scan(folder: Path) -> Listing:
    """Lists a folder's pictures and checks how they are laid out; reads none."""
    groups: list[tuple[str, int, int]] = []
    names: list[str] = []
    states: list[tuple[int, int, int]] = []
    try:
        train, test = _find_parts(folder)
        class_names = sorted(_list_folders(train), key=_class_order)
        _check_names(train, class_names)
        if test and (unknown := sorted(set(_list_folders(test)) - set(class_names), key=_class_order)):
            raise InputError(
                f"{show(test / unknown[0])}: a class that {show(train)} lacks, expected a folder of that name in "
                "both; add training pictures, or remove the folder."
            )
        places = [("train", label, train / name) for label, name in enumerate(class_names)]
        if test:
            places += [("test", label, test / name) for label, name in enumerate(class_names) if (test / name).is_dir()]
        for part, label, place in places:
            found = _list_pictures(place)
            if found:
                files = _sort_naturally(list(found))
                prefix = place.relative_to(folder).as_posix()
                names += [f"{prefix}/{file}" for file in files]
                states += [found[file] for file in files]
                groups.append((part, label, len(files)))
            elif part == "train":
                raise InputError(
                    f"{show(place)}: no pictures in this class folder, expected at least one .png, .jpg or .jpeg "
                    "file; add some, or remove the folder."
                )
    except OSError as error:
        raise InputError(
            f"{show(error.filename or folder)}: cannot read it: {error.strerror or error}, expected class folders "
            "with pictures; check path and rights."
        ) from None
    count = sum(count for part, _, count in groups if part == "train")
    if test and count == len(names):
        raise InputError(
            f"{show(test)}: no pictures, expected some in class folders; add them, or remove the folder to have test "
            "examples drawn from the training pictures."
        )
    numbers = np.array(states, np.int64)
    size, newest = int(numbers[:, 0].sum()), int(numbers[:, 1:].max())
    digest = hashlib.sha256(json.dumps([_VERSION, groups]).encode())
    digest.update(os.fsencode("//".join(names)))
    digest.update(numbers.astype("<i8").data)
    parts = (train, test) if test else (train,)
    return Listing(folder, parts, tuple(class_names), groups, names, count, size, newest, digest.hexdigest())


def _check_names(train: Path, class_names: list[str]) -> None:
    if len(class_names) < 2:
        found = f"the only class folder is {show(class_names[0])}" if class_names else "no class folders"
        raise InputError(
            f"{show(train)}: {found}, expected a folder with pictures for each of at least two classes; sort the "
            "pictures into class folders."
        )
    if len(class_names) > MOST_CLASSES:
        raise InputError(
            f"{show(train)}: {len(class_names)} class folders, expected 2 to {MOST_CLASSES}; is this the right folder?"
        )
    for name in class_names:
        check_name(train / name)
        if not name.strip() or name.splitlines() != [name]:
            raise InputError(
                f"{show(train / name)}: not a class name, expected one line that is not blank; rename the folder."
            )


def _list_pictures(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Returns the pictures of a folder by name, with size and the times of change of content and of anything."""
    found: dict[str, tuple[int, int, int]] = {}
    with os.scandir(folder) as entries:
        for entry in entries:  # 70,000 of them, at every start
            name = entry.name
            if name.endswith(_ENDS) or _is_picture_name(name):
                state = entry.stat()
                if stat.S_ISREG(state.st_mode) and name[0] != ".":
                    found[name] = (state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    return found


def _start_key(listing: Listing) -> str:
    """Returns what of a key is known before any picture is read."""
    about = json.dumps([_VERSION, listing.class_names, listing.groups, listing.size])
    return hashlib.sha256(about.encode()).hexdigest()[:16]


def _make_key(listing: Listing, digests: Iterable[bytes]) -> str:
    """Returns the hex digest of all that the arrays follow from; names and times of files are not part of it."""
    return _start_key(listing) + hashlib.sha256(b"".join(digests)).hexdigest()[:48]


# Reading them


def _check_classes(listing: Listing, broken: dict[int, str]) -> None:
    """Checks that every class keeps a picture."""
    start = 0
    for _, _, count in listing.groups:
        if all(place in broken for place in range(start, start + count)):
            first = listing.names[start]
            raise InputError(
                f"{show(listing.root / first)}: a broken picture ({broken[start]}), as are all {count} of its class, "
                "expected at least one that can be decoded; fix them, or remove the class folder."
            )
        start += count


def _to_source(listing: Listing, images: Images, skipped: Labels) -> Source:
    """Makes a source of all pictures uint8 `[n, height, width]` but those at the places `skipped`, int64 `[s]`."""
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
        named = [show(listing.names[place]) for place in map(int, skipped[:_NAMED])]
        more = ["..."] if len(skipped) > _NAMED else []
        plural = "s" if len(skipped) > 1 else ""
        notes = (f"left out {len(skipped)} broken picture{plural}: {', '.join(named + more)}",)
    return Source(parts[0], parts[1] if len(parts) > 1 else None, listing.class_names, notes)


# Writing
