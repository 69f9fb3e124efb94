"""Pictures in class folders as a source; decoded once, then read from a cache by the files' content.

Layouts are `ROOT/train/<class>/*`, with or without `test/` and `val/` beside it, or `ROOT/<class>/*` alone.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Generator, Iterable
from functools import partial
from itertools import chain, islice
from pathlib import Path

import numpy as np
import PIL

from tfmnist.data.bulk_decode import (
    DecodingProgress,
    Listing,
    decode_files,
    digest_files,
    find_readable,
    process_files,
)
from tfmnist.data.layout import (
    BROKEN,
    OTHERS,
    LeftOut,
    Role,
    State,
    find_parts,
    is_junk,
    is_picture_name,
    list_groups,
    reading,
)
from tfmnist.data.split import Images, Labels, Part, Source
from tfmnist.errors import InputError, printable
from tfmnist.system.cache import ArrayCache, find_cache

_TICK = 2 * 10**9  # ns: a file this new may change again without its times changing
_LOOKED_AT = 1000  # folders, for a picture
# To be changed if the arrays change but no picture does; other versions of Pillow may round JPEGs differently.
_VERSION = f"tfmnist pictures 3, Pillow {PIL.__version__}"


def is_picture_folder(folder: Path) -> bool:
    """Returns whether a folder has no IDX files, but pictures somewhere in it, if not as `read_folder` expects them.

    Looks no further than the first picture, nor into more than a thousand folders.
    """
    walk = islice(os.walk(folder, followlinks=True), _LOOKED_AT)
    try:
        for number, (_, folders, files) in enumerate(walk):
            if not number and any(re.search("idx[0-9]", name) for name in files):
                return False
            if any(map(is_picture_name, files)):
                return True
            folders[:] = sorted(name for name in folders if not is_junk(name))
    except ValueError:  # a path with a null character
        pass
    return False


def read_folder(
    folder: Path, *, skip_broken: bool = False, cache: Path | None = None
) -> Generator[DecodingProgress, None, Source]:
    """Reads pictures in class folders, and decodes what the cache lacks.

    Class names are the folders' names, whole numbers in their order before other names in natural order ("b2" before
    "b10"); a label is the index in that order. Examples are sorted by class, then naturally by file name.

    Args:
        folder: `<class>/*.png` (or .jpg, .bmp, .gif, .tif, .webp, .heic) in `train/` or `training/`, and perhaps in
            `test/` or `testing/` and in `val/`, `valid/` or `validation/`; or in the folder itself.
        skip_broken: leaves out, and notes, pictures that cannot be decoded.
        cache: where decoded arrays are cached; None for the user's cache folder.

    Yields:
        About 50 times at most, the last with `done == total`; nothing if the cache has everything.

    Returns:
        Images uint8 `[n, height, width]`, as `read_grey` decodes them, mapped from the cache; labels int64 `[n]`; both
        read-only. No test or validation part without its folder. Notes name what is no picture in a class folder.

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


def _scan(folder: Path) -> Listing:
    """Lists a folder's pictures and checks their layout; reads none."""
    groups: list[tuple[Role, int, int]] = []
    names: list[str] = []
    states: list[State] = []
    left_out = LeftOut()
    labels: dict[str, int] = {}
    with reading(folder):
        parts = find_parts(folder)
        for role, name, pictures in list_groups(folder, left_out):
            label = labels.setdefault(name, len(labels))  # training comes first, and has all classes in their order
            prefix = (parts[role] / name).relative_to(folder).as_posix()
            names += [f"{prefix}/{file}" for file in pictures]
            states += pictures.values()
            groups.append((role, label, len(pictures)))
    numbers = np.array(states, np.int64)
    size, newest = int(numbers[:, 0].sum()), int(numbers[:, 1:].max())
    about = json.dumps([_VERSION, groups]).encode() + os.fsencode("//".join(names))
    fingerprint = hashlib.sha256(about + numbers.astype("<i8").tobytes()).hexdigest()
    notes = left_out.note(*OTHERS)
    return Listing(folder, parts, tuple(labels), groups, names, notes, size, newest, fingerprint)


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
    counts = [count for _, _, count in listing.groups]
    labels = np.delete(np.repeat([label for _, label, _ in listing.groups], counts).astype(np.int64), skipped)
    images.flags.writeable = labels.flags.writeable = False
    parts: dict[Role, Part] = {}
    start = end = 0
    for role, path in listing.parts.items():
        start += sum(count for other, _, count in listing.groups if other == role)
        some = slice(end, end := start - int(np.count_nonzero(skipped < start)))
        parts[role] = Part(images[some], labels[some], str(path), str(path))
    broken = LeftOut()
    broken.add(*(listing.names[index] for index in map(int, skipped)))
    notes = (*listing.notes, *broken.note(*BROKEN))
    return Source(parts["train"], parts.get("test"), listing.class_names, notes, parts.get("validation"))
