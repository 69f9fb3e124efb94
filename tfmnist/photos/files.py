"""Picture files: their bytes as a model's `image_bytes` takes them, and their pixels for a figure."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from tfmnist.errors import InputError

MOST_PIXELS = 64_000_000
SHOWN_SIDE = 800


def read_bytes(path: str | Path) -> bytes:
    """Reads a picture file, and makes sure that it is one.

    Args:
        path: a PNG or JPEG.

    Returns:
        The file's bytes.

    Raises:
        InputError: missing, a folder, empty, not a PNG or JPEG, of over 64 megapixels, cut or damaged.

    Example:
        >>> read_bytes("none.png")
        Traceback (most recent call last):
        tfmnist.errors.InputError: none.png: cannot read the picture: No such file or directory.
    """
    contents = _contents(path)
    with _opened(contents, path) as picture:
        _load(picture, SHOWN_SIDE)
    return contents


def show_picture(picture: str | Path | bytes) -> npt.NDArray[np.uint8]:
    """Reads a picture for a figure: upright, in colour, on white where it is transparent, 800 pixels long at most.

    Args:
        picture: a PNG or JPEG, its path or its bytes.

    Returns:
        uint8 `[h, w, 3]`.

    Raises:
        InputError: as `read_bytes`.

    Example:
        >>> file = io.BytesIO()
        >>> Image.new("L", (1000, 500)).save(file, "PNG")
        >>> show_picture(file.getvalue()).shape
        (400, 800, 3)
    """
    name, contents = ("picture", picture) if isinstance(picture, bytes) else (picture, _contents(picture))
    with _opened(contents, name) as opened:
        _load(opened, SHOWN_SIDE)
        if opened.mode.startswith("I"):  # 16 bits a pixel
            deep = np.asarray(opened, np.int64) >> 8
            shown = Image.fromarray(deep.clip(0, 255).astype(np.uint8))
        else:
            # as the model sees it: orientation is read of JPEGs only
            shown = ImageOps.exif_transpose(opened) if opened.format == "JPEG" else opened
        shown = shown.convert("RGBA" if shown.has_transparency_data else "RGB")
        shown.thumbnail((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.BOX)
        if shown.mode == "RGBA":
            shown = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("RGB")
        return np.asarray(shown)


def _contents(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot read the picture: {error.strerror or error}.") from None
    except ValueError as error:  # a path with a null character
        raise InputError(f"{str(path)!r}: cannot read the picture: {error}.") from None


@contextmanager
def _opened(contents: bytes, name: str | Path) -> Iterator[Image.Image]:
    """The picture, nothing of it decoded yet; what its decoder says becomes an InputError."""
    if not contents:
        raise InputError(f"{name}: the file is empty; expected a PNG or JPEG picture.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes, which are checked below, and of odd EXIF data, which is no harm
            with Image.open(io.BytesIO(contents), formats=("PNG", "JPEG")) as picture:
                if picture.width * picture.height > MOST_PIXELS:  # read off the header
                    raise InputError(_too_large(name, f"{picture.width}x{picture.height} pixels"))
                yield picture
    except UnidentifiedImageError:
        raise InputError(f"{name}: not a PNG or JPEG picture; save it as one.") from None
    except Image.DecompressionBombError:
        raise InputError(_too_large(name, "far too many pixels")) from None
    except (OSError, ValueError, SyntaxError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{name}: the picture is damaged ({reason}); save it again.") from None


def _too_large(name: str | Path, size: str) -> str:
    return f"{name}: {size}, at most {MOST_PIXELS // 10**6} megapixels are read: shrink it."


def _load(picture: Image.Image, side: int) -> None:
    """Decodes all of a picture, a JPEG at a fraction of its size if that is enough for `side`."""
    picture.draft("RGB", (side, side))
    picture.load()
