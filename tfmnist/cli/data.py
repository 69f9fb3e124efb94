"""`tfmnist data`: shows what a data source holds, and converts any source to plain IDX files."""

import re
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from tyro.conf import Positional, arg

from tfmnist.cli.process import tensorflow_quietly
from tfmnist.errors import InputError

if TYPE_CHECKING:
    from tfmnist.data.bulk_decode import DecodingProgress
    from tfmnist.data.split import Images, Split

_Source = Annotated[str, Positional, arg(metavar="SOURCE")]
_SAMPLE = 2000  # images whose ground is looked at


def data(arguments: Sequence[str]) -> None:
    """Shows a data source, or converts it: data show, data convert."""
    tyro.extras.subcommand_cli_from_dict(SUBCOMMANDS, prog="tfmnist data", description=data.__doc__, args=arguments)


def show(source: _Source, out: Annotated[str, arg(metavar="FILE.png", help_behavior_hint="")] = "") -> None:
    """Shows what a data source holds, and draws some of its pictures.

    Args:
        source: A data source, as in train --data.source.
        out: The contact sheet; by default SOURCE-pictures.png in the current folder.
    """
    from tfmnist.data.sources import check_source, load_events

    if out and not out.lower().endswith(".png"):
        raise InputError(f"--out {out}: expected a .png file.")
    check_source(source)
    digits = _finish(load_events(source, -1, 0, 0, (), 0, 0.15, False, False))

    import numpy as np

    from tfmnist.cli.tables import show_data
    from tfmnist.reports import pictures, style

    show_data(digits, *_describe_pixels(digits.train))
    labels = digits.train.compact_labels
    chosen = [np.flatnonzero(labels == label)[:12] for label in range(digits.classes)]
    images = [digits.train.take(rows)[0] for rows in chosen]
    path = out or f"{re.sub('[.](png|csv|npz|gz)', '', Path(source).absolute().name)}-pictures.png"
    style.save(pictures.contact_sheet(images, digits.class_names, "the first training images of each class"), path)
    print(path)


def convert(
    source: _Source,
    dest: Annotated[str, Positional, arg(metavar="DEST")],
    size: Annotated[str, arg(metavar="HxW", help_behavior_hint="")] = "",
    photos: bool = False,
    skip_broken: bool = False,
) -> None:
    """Converts any data source to plain IDX files, which train from disk at full speed.

    Args:
        source: A data source, as in train --data.source; or a .zip, .tar or .tar.gz of folders of pictures, or Parquet.
        dest: A new folder, which appears only when complete.
        size: Height and width to scale all images to, such as 28x28.
        photos: Make images of photos of any size as predict would see them: 28x28, or of the given size.
        skip_broken: Leave out pictures that cannot be decoded.
    """
    from tfmnist.data.convert import write_idx_folder
    from tfmnist.data.sources import check_source

    match = re.fullmatch("([1-9][0-9]{0,3})[xX]([1-9][0-9]{0,3})", size)
    if size and not match:
        raise InputError(f"--size {size}: expected a height and a width in pixels, such as 28x28.")
    scaled = (int(match[1]), int(match[2])) if match else None
    check_source(source)
    read_photos = _load_photo_reader(*(scaled or (28, 28))) if photos else None
    events = write_idx_folder(source, Path(dest), size=scaled, read_photos=read_photos, skip_broken=skip_broken)
    converted = _finish(events)
    for note in converted.notes:
        print(f"note: {note}")
    counts = ", ".join(f"{count:,} for {role.replace('train', 'training')}" for role, count in converted.counts.items())
    height, width = converted.image_shape
    print(f"{counts}; {len(converted.class_names)} classes, {height} x {width}")
    print(dest)


SUBCOMMANDS: dict[str, Callable[..., None]] = {"show": show, "convert": convert}


def _finish(events: "Generator[DecodingProgress, None, Any]") -> Any:
    """Shows progress in a terminal, and returns what the events end with."""
    shown = False
    while True:
        try:
            progress = next(events)
        except StopIteration as end:
            if shown:
                print("\r\x1b[K", end="")
            return end.value
        if shown := sys.stdout.isatty():
            of_total = f"/{progress.total:,}" if progress.total else ""
            print(f"\r{progress.done:,}{of_total} pictures", end="", flush=True)


def _describe_pixels(train: "Split") -> tuple[str, str]:
    """Returns what range the pixels of some images have, and whether their ground is dark or light."""
    import numpy as np

    images, _ = train.take(np.linspace(0, len(train) - 1, min(len(train), _SAMPLE)).astype(np.int64))
    edges = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], axis=1)
    dark = float(np.mean(np.median(edges, axis=1) < 128))
    ground = "dark ground, light ink" if dark > 0.5 else "light ground, dark ink"
    if 0.02 < dark < 0.98:
        ground = f"dark ground in {dark:.0%}, light in the others"
    return f"{images.min()} to {images.max()}, mean {images.mean():.1f}", ground


def _load_photo_reader(height: int, width: int) -> "Callable[[Sequence[bytes]], tuple[Images, list[str]]]":
    """Returns a function that makes training images of photos as an exported model would see them."""
    with tensorflow_quietly():
        import tensorflow as tf

        from tfmnist.photos.files import read_all
        from tfmnist.photos.normalize import ImageFormat, normalize
        from tfmnist.photos.status import Status

    image_format = ImageFormat(height, width, centred=True, dark_on_light=False)
    read = tf.function(
        lambda contents: normalize(contents, image_format), input_signature=[tf.TensorSpec([None], tf.string)]
    )

    def read_photos(files: Sequence[bytes]) -> "tuple[Images, list[str]]":
        import numpy as np

        images = np.zeros([len(files), height, width], np.uint8)
        contents, reasons = read_all(files)
        if contents:
            seen, _, status = read(tf.constant(list(contents.values())))
            images[list(contents)] = seen.numpy()
            for index, value in zip(contents, status.numpy().tolist()):
                reasons[index] = Status(value).explain().rstrip(".") if value else ""
        return images, reasons

    return read_photos
