"""Pictures in class folders as a source, decoded once: a cache keeps their arrays, by the files' content.

Layouts are `ROOT/train/<class>/*` with or without `ROOT/test/<class>/*`, or `ROOT/<class>/*` alone; pictures are PNG
and JPEG files. Pillow decodes them, large ones in threads; small grey PNGs, where there are many, TensorFlow.
"""

import hashlib
import io
import json
import os
import re
import stat
import struct
import tempfile
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache as once
from functools import partial
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from tfmnist.data.npz import MOST_CLASSES, Part, Source
from tfmnist.data.picture_cache import PictureCache, find_cache
from tfmnist.errors import InputError
from tfmnist.files import check_name

if TYPE_CHECKING:
    from tfmnist.data.sources import Digits

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
T = TypeVar("T")

_ENDS = (".png", ".jpg", ".jpeg")
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_EVENTS = 50
_STRETCH = 2048  # small pictures between two events, at least; of large ones, a 64th
_SMALL = 1 << 13  # bytes of a picture, on average: below, threads only wait for the interpreter's lock
_MANY = 10_000  # small pictures: with fewer, Pillow is done before TensorFlow is imported
_GROUP = 128  # pictures that TensorFlow decodes in one call
_TICK = 2 * 10**9  # ns: a file this new may change again without a change of its times
_NAMED = 3  # pictures left out that a note names
# What changes the arrays though no picture changes; other versions of Pillow may round a JPEG otherwise.
_VERSION = f"tfmnist pictures 2, Pillow {PIL.__version__}"


@dataclass(frozen=True)
class Reading:
    """Progress: `done` of `total` pictures."""

    done: int
    total: int


class _Listing(NamedTuple):
    """The pictures of a folder, in the order of their examples: training before test, class by class."""

    root: Path
    parts: tuple[Path, ...]  # the folders for training and, if there is one, for test
    class_names: tuple[str, ...]
    groups: list[tuple[str, int, int]]  # part, label, number of pictures
    names: list[str]  # relative to root
    train: int  # number of training pictures
    size: int  # of all files, in bytes
    newest: int  # time of the latest change, ns
    fingerprint: str  # of names, sizes and times

    @property
    def are_small(self) -> bool:
        return self.size < _SMALL * len(self.names)


class _Broken(Exception):
    """A picture that cannot be decoded, and why."""


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
) -> Generator[Reading, None, Source]:
    """Decodes what the cache lacks, and returns what `read_folder` does; takes and raises what that does.

    Yields:
        About 50 times at most, the last with `done == total`; not at all where the cache has everything.

    Example:
        >>> with tempfile.TemporaryDirectory() as name:
        ...     for label in "07":
        ...         Path(name, label).mkdir()
        ...         Image.new("L", (3, 2), int(label)).save(Path(name, label, "a.png"))
        ...     list(read_folder_events(Path(name), cache=Path(name, ".cache")))
        [Reading(done=2, total=2)]
    """
    started = time.time_ns()
    listing = _scan(folder)
    lasting = listing.newest < started - _TICK
    store = PictureCache(cache or find_cache())
    found = store.find(listing.fingerprint)
    if not found and store.has(_start_key(listing)):
        key = _make_key(listing, chain.from_iterable(_work(listing, _digest_files)))
        found = store.open(key)
        if lasting:
            store.remember(key, listing.fingerprint)
    if found and (skip_broken or not len(found["skipped"])):
        return _to_source(listing, found["images"], found["skipped"])

    total = len(listing.names)
    model, shape = _find_model(listing, skip_broken)
    images = np.empty([total, *shape], np.uint8)
    digests: list[bytes] = []
    broken: dict[int, str] = {}
    for results in _work(listing, partial(_decode_files, listing, images, model, skip_broken)):
        broken |= {place: reason for place, (_, reason) in enumerate(results, len(digests)) if reason}
        digests += [digest for digest, _ in results]
        yield Reading(len(digests), total)
    _check_classes(listing, broken)
    skipped = np.array(list(broken), np.int64)
    if broken:
        images = np.delete(images, skipped, axis=0)
    key = _make_key(listing, digests)
    found = store.write(key, {"images": images, "skipped": skipped})
    if lasting:
        store.remember(key, listing.fingerprint)
    return _to_source(listing, found["images"] if found else images, skipped)


def write_folder(digits: "Digits", destination: Path) -> Generator[Reading, None, None]:
    """Writes a data set as grey PNGs, `train/<class>/00000.png` and `test/<class>/00000.png`; all of it or nothing.

    Validation examples go back to where they were drawn from: a file's number is the example's place in the data set.

    Args:
        digits: its class names become folder names.
        destination: must not exist, or be empty.

    Yields:
        About 50 times at most, the last when all is in place.

    Raises:
        InputError: the destination is not empty or cannot be written, or a class name is no name for a folder.

    Example:
        >>> from tfmnist.data.sources import Digits, Split
        >>> two, none = (Split(np.full([n, 2, 3], 9, np.uint8), np.arange(n)) for n in (2, 0))
        >>> with tempfile.TemporaryDirectory() as name:
        ...     events = list(write_folder(Digits(two, none, two, ("a", "b"), ""), Path(name, "new")))
        ...     events, sorted(path.relative_to(name).as_posix() for path in Path(name).rglob("*.png"))[:2]
        ([Reading(done=2, total=4), Reading(done=4, total=4)], ['new/test/a/00000.png', 'new/test/b/00001.png'])
    """
    check_name(destination)
    destination = Path(os.path.realpath(destination))
    for name in digits.class_names:
        if name.startswith(".") or not name.isprintable() or not name.strip() or set(name) & set('/\\:*?"<>|'):
            raise InputError(
                f"class name {name!r} cannot be a folder's, expected printable text that does not begin with a dot and "
                'has none of /\\:*?"<>|; rename the class.'
            )
    try:
        if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
            raise InputError(f"{destination}: is there already and not an empty folder; choose another.")
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}-") as scratch:
            folder = Path(scratch, "folder")  # with the rights of any new folder, which the temporary one lacks
            done = Reading(0, 0)
            for done in _write_pictures(digits, folder):
                if done.done < done.total:
                    yield done
            if hasattr(os, "sync"):  # once for all: flushing every file by itself takes minutes
                os.sync()
            if destination.exists():
                destination.rmdir()
            folder.rename(destination)
        yield done
    except OSError as error:
        raise InputError(
            f"{destination}: cannot write the pictures: {error.strerror or error}; check folder, space and rights."
        ) from None


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


def _scan(folder: Path) -> _Listing:
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
                f"{_show(test / unknown[0])}: a class that {_show(train)} lacks, expected a folder of that name in "
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
                    f"{_show(place)}: no pictures in this class folder, expected at least one .png, .jpg or .jpeg "
                    "file; add some, or remove the folder."
                )
    except OSError as error:
        raise InputError(
            f"{_show(error.filename or folder)}: cannot read it: {error.strerror or error}, expected class folders "
            "with pictures; check path and rights."
        ) from None
    count = sum(count for part, _, count in groups if part == "train")
    if test and count == len(names):
        raise InputError(
            f"{_show(test)}: no pictures, expected some in class folders; add them, or remove the folder to have test "
            "examples drawn from the training pictures."
        )
    numbers = np.array(states, np.int64)
    size, newest = int(numbers[:, 0].sum()), int(numbers[:, 1:].max())
    digest = hashlib.sha256(json.dumps([_VERSION, groups]).encode())
    digest.update(os.fsencode("//".join(names)))
    digest.update(numbers.astype("<i8").data)
    parts = (train, test) if test else (train,)
    return _Listing(folder, parts, tuple(class_names), groups, names, count, size, newest, digest.hexdigest())


def _check_names(train: Path, class_names: list[str]) -> None:
    if len(class_names) < 2:
        found = f"the only class folder is {_show(class_names[0])}" if class_names else "no class folders"
        raise InputError(
            f"{_show(train)}: {found}, expected a folder with pictures for each of at least two classes; sort the "
            "pictures into class folders."
        )
    if len(class_names) > MOST_CLASSES:
        raise InputError(
            f"{_show(train)}: {len(class_names)} class folders, expected 2 to {MOST_CLASSES}; is this the right folder?"
        )
    for name in class_names:
        check_name(train / name)
        if not name.strip() or name.splitlines() != [name]:
            raise InputError(
                f"{_show(train / name)}: not a class name, expected one line that is not blank; rename the folder."
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


def _start_key(listing: _Listing) -> str:
    """Returns what of a key is known before any picture is read."""
    about = json.dumps([_VERSION, listing.class_names, listing.groups, listing.size])
    return hashlib.sha256(about.encode()).hexdigest()[:16]


def _make_key(listing: _Listing, digests: Iterable[bytes]) -> str:
    """Returns the hex digest of all that the arrays follow from; names and times of files are not part of it."""
    return _start_key(listing) + hashlib.sha256(b"".join(digests)).hexdigest()[:48]


# Reading them


def _work(listing: _Listing, task: Callable[[range, list[bytes]], list[T]]) -> Iterator[list[T]]:
    """Does a task on all pictures, given by their places and contents, a stretch at a time; yields its results."""
    total, small = len(listing.names), listing.are_small
    stretch = max(-(-total // _EVENTS), _STRETCH if small else _STRETCH // 64)
    stretches = [range(start, min(start + stretch, total)) for start in range(0, total, stretch)]
    read = partial(_read_files, listing)

    def one(place: int) -> list[T]:
        alone = range(place, place + 1)
        return task(alone, read(alone))

    with ThreadPoolExecutor() as pool:
        ahead = pool.submit(read, stretches[0]) if small else None  # beside the task on those before
        for number, places in enumerate(stretches):
            # Filters of warnings belong to the whole process, so they change while nothing else of ours runs.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if ahead:
                    files = ahead.result()
                    ahead = pool.submit(read, stretches[number + 1]) if number + 1 < len(stretches) else None
                    results = task(places, files)
                else:
                    results = list(chain.from_iterable(pool.map(one, places)))
            yield results


def _read_files(listing: _Listing, places: range) -> list[bytes]:
    return [_read_file(os.path.join(listing.root, listing.names[place])) for place in places]


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError as error:
        raise InputError(
            f"{_show(path)}: cannot read the picture: {error.strerror or error}, expected a readable file; check its "
            "rights, or remove it."
        ) from None


def _digest_files(places: range, files: list[bytes]) -> list[bytes]:
    return [hashlib.sha256(data).digest() for data in files]


def _find_model(listing: _Listing, skip_broken: bool) -> tuple[str, tuple[int, ...]]:
    """Returns the name of the first picture that can be decoded, and its height and width, which all shall have."""
    reason = ""
    for name in listing.names:
        path = os.path.join(listing.root, name)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return name, _decode(_read_file(path)).shape
        except _Broken as error:
            if not skip_broken:
                _fail_broken(path, error)
            reason = reason or str(error)
    raise InputError(
        f"{_show(listing.root)}: all {len(listing.names)} pictures are broken, the first {_show(listing.names[0])} "
        f"({reason}), expected PNG or JPEG files; fix or delete them."
    )


def _decode_files(
    listing: _Listing, images: Images, model: str, skip_broken: bool, places: range, files: list[bytes]
) -> list[tuple[bytes, str]]:
    """Decodes pictures into `images[places]`; returns the digest of each file, and why it is broken, else ""."""
    paths = [os.path.join(listing.root, listing.names[place]) for place in places]
    some = images[places.start : places.stop]
    many = listing.are_small and len(images) >= _MANY
    done = _decode_grey(files, some) if many else set[int]()
    reasons = [""] * len(files)
    for place in sorted(set(range(len(files))) - done):
        try:
            picture = _decode(files[place])
        except _Broken as error:
            if not skip_broken:
                _fail_broken(paths[place], error)
            reasons[place] = str(error)
            continue
        if picture.shape != some.shape[1:]:
            (height, width), (high, wide) = picture.shape, some.shape[1:]
            raise InputError(
                f"{_show(paths[place])}: {width}x{height} pixels, expected {wide}x{high} like {_show(model)}; resize "
                "the pictures to one size."
            )
        some[place] = picture
    return [(hashlib.sha256(data).digest(), reason) for data, reason in zip(files, reasons)]


def _decode_grey(files: list[bytes], images: Images) -> set[int]:
    """Decodes plain grey PNGs into `images`, to Pillow's values, and returns their places; leaves others as they are.

    TensorFlow rejects whatever damage Pillow does, and more, but for a wrong checksum beside the pixels, in a comment.
    """
    height, width = images.shape[1:]
    header = struct.pack(">4sIIBBBBB", b"IHDR", width, height, 8, 0, 0, 0, 0)  # 8 bits, grey, not interlaced
    plain = [
        place
        for place, data in enumerate(files)
        if data.startswith(_PNG) and data[12:29] == header and b"tRNS" not in data
    ]
    done: set[int] = set()
    for start in range(0, len(plain) - _GROUP + 1, _GROUP):
        group = plain[start : start + _GROUP]
        if (decoded := _load_decoder()([files[place] for place in group])) is not None:
            images[group] = decoded
            done.update(group)
    return done


@once
def _load_decoder() -> Callable[[list[bytes]], Images | None]:
    """Returns a function that decodes `_GROUP` grey PNGs of one size at once, and returns None where one is damaged."""
    tf: Any = import_module("tensorflow")  # here, since it takes seconds that most uses of this module can do without

    # An operation for each picture, run by TensorFlow's threads: a tf.data pipeline or tf.map_fn takes three times as
    # long, since it does more about a picture of this size than decode it.
    def decode_all(files: Any) -> Any:
        return tf.stack([tf.io.decode_png(data, channels=1) for data in tf.unstack(files)])[..., 0]

    decode = tf.function(decode_all, input_signature=[tf.TensorSpec([_GROUP], tf.string)], autograph=False)

    def run(files: list[bytes]) -> Images | None:
        try:
            with tf.device("CPU:0"):
                return decode(tf.constant(files)).numpy()
        except tf.errors.OpError:
            return None

    return run


def _decode(data: bytes) -> Images:
    """Decodes a picture by Pillow.

    Returns:
        uint8 `[height, width]`.

    Raises:
        _Broken: it cannot be decoded.
    """
    if not data:
        raise _Broken("the file is empty")
    if not data.startswith((_PNG, _JPEG)):
        raise _Broken("not a PNG or JPEG picture")
    try:
        # The classes, since Image.open would warn of a large picture, and not say that it is too large.
        with (JpegImageFile if data.startswith(_JPEG) else PngImageFile)(io.BytesIO(data)) as picture:
            width, height = picture.size
            if Image.MAX_IMAGE_PIXELS and width * height > 2 * Image.MAX_IMAGE_PIXELS:
                raise _Broken(f"{width}x{height} pixels, a decompression bomb?")
            picture.load()
            return _to_grey(ImageOps.exif_transpose(picture) if isinstance(picture, JpegImageFile) else picture)
    except (_Broken, MemoryError):
        raise
    except Exception as error:  # Pillow raises a dozen kinds for damaged files
        raise _Broken(" ".join(str(error).split()) or type(error).__name__) from None


def _to_grey(picture: Image.Image) -> Images:
    clear = picture.info.get("transparency")
    if picture.mode.startswith("I"):  # 16 bits a pixel, which Pillow would cut off at 255
        deep = np.asarray(picture).astype(np.int64)
        grey = (deep >> 8).clip(0, 255).astype(np.uint8)
        grey[deep == (-1 if clear is None else clear)] = 255
        return grey
    if clear is not None or picture.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        colour = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", colour.size, "white"), colour)
    return np.asarray(picture if picture.mode == "L" else picture.convert("L"))


def _fail_broken(path: str, error: _Broken) -> NoReturn:
    raise InputError(
        f"{_show(path)}: a broken picture ({error}), expected a whole PNG or JPEG; fix or delete it, or leave broken "
        "pictures out with data.skip_broken true (--data.skip_broken true)."
    ) from None


def _check_classes(listing: _Listing, broken: dict[int, str]) -> None:
    """Checks that every class keeps a picture."""
    start = 0
    for _, _, count in listing.groups:
        if all(place in broken for place in range(start, start + count)):
            first = listing.names[start]
            raise InputError(
                f"{_show(listing.root / first)}: a broken picture ({broken[start]}), as are all {count} of its class, "
                "expected at least one that can be decoded; fix them, or remove the class folder."
            )
        start += count


def _to_source(listing: _Listing, images: Images, skipped: Labels) -> Source:
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
        named = [_show(listing.names[place]) for place in map(int, skipped[:_NAMED])]
        more = ["..."] if len(skipped) > _NAMED else []
        plural = "s" if len(skipped) > 1 else ""
        notes = (f"left out {len(skipped)} broken picture{plural}: {', '.join(named + more)}",)
    return Source(parts[0], parts[1] if len(parts) > 1 else None, listing.class_names, notes)


# Writing


def _write_pictures(digits: "Digits", folder: Path) -> Iterator[Reading]:
    train, held = digits.train, digits.validation
    order = np.arange(len(train) + len(held))
    known = [split.rows for split in (train, held) if len(split) and split.rows is not None]
    rows = np.concatenate([order[:0], *known])
    if len(np.unique(rows)) == len(order):  # all have a place, and each its own
        order = rows
    done, total = 0, len(order) + len(digits.test)
    batch = max(-(-total // _EVENTS), 256)
    tests = np.arange(len(digits.test))
    wide = max(5, *(len(str(numbers.max(initial=0))) for numbers in (order, tests)))
    for part, split, numbers in (
        ("train", train, order[: len(train)]),
        ("train", held, order[len(train) :]),
        ("test", digits.test, tests),
    ):
        places: list[Path] = [folder / part / name for name in digits.class_names]
        for label in np.flatnonzero(np.bincount(split.labels)):
            places[label].mkdir(parents=True, exist_ok=True)
        for start in range(0, len(split), batch):
            images, labels = split.take(np.arange(start, min(start + batch, len(split))))
            for number, label, image in zip(numbers[start:].tolist(), labels.tolist(), images):
                Image.fromarray(image).save(places[int(label)] / f"{number:0{wide}}.png", "PNG")
            done += len(images)
            yield Reading(done, total)


def _show(path: str | Path) -> str:
    """Returns a path as one line."""
    text = str(path)
    return text if text.isprintable() else ascii(text)
