"""The one reader of picture files, on Pillow: PNG and JPEG, of bounded size, in grey or in colour."""

import io
import warnings
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from tfmnist.system.files import one_line

Images = npt.NDArray[np.uint8]

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
MOST_PIXELS = 64_000_000


class UnreadablePicture(Exception):
    """A picture that cannot be decoded; its message is the reason, without the file's name."""


def read_grey(data: bytes) -> Images:
    """Decodes a PNG or JPEG in grey by ITU-R BT.601, transparent areas white: uint8 `[height, width]`.

    Raises:
        UnreadablePicture: empty, not a PNG or JPEG, of over 64 megapixels, or damaged.
    """
    with _opened(data) as picture:
        picture.load()
        return _to_grey(_upright(picture))


def read_colour(data: bytes, side: int) -> Images:
    """Decodes a PNG or JPEG in colour for a figure, transparent areas white: uint8 `[height, width, 3]`.

    Larger pictures are shrunk so that their longer side is `side`. Raises what `read_grey` raises.
    """
    with warnings.catch_warnings(), _opened(data) as picture:
        warnings.simplefilter("ignore")  # odd EXIF data is harmless
        _load_small(picture, side)
        shown = Image.fromarray(_high_bytes(picture)) if picture.mode.startswith("I") else _upright(picture)
        shown = shown.convert("RGBA" if shown.has_transparency_data else "RGB")
        shown.thumbnail((side, side), Image.Resampling.BOX)
        return np.asarray(_on_white(shown).convert("RGB"))


def check_picture(data: bytes) -> None:
    """Decodes all of a picture, to see whether it can be decoded; raises what `read_grey` raises."""
    with warnings.catch_warnings(), _opened(data) as picture:
        warnings.simplefilter("ignore")
        _load_small(picture, 1)


@contextmanager
def _opened(data: bytes) -> Generator[Image.Image]:
    """Opens a picture, nothing of it decoded yet; whatever Pillow raises in the block becomes UnreadablePicture."""
    if not data:
        raise UnreadablePicture("the file is empty")
    if not data.startswith((PNG, JPEG)):
        raise UnreadablePicture("not a PNG or JPEG picture")
    try:
        # not Image.open, which warns of large pictures instead of saying how large they are
        with (JpegImageFile if data.startswith(JPEG) else PngImageFile)(io.BytesIO(data)) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                size = f"{picture.width}x{picture.height} pixels"
                raise UnreadablePicture(f"{size}, at most {MOST_PIXELS // 10**6} megapixels are read: shrink it")
            yield picture
    except (UnreadablePicture, MemoryError):
        raise
    except Exception as error:  # Pillow raises a dozen kinds for damaged files
        raise UnreadablePicture(f"damaged: {one_line(error)}") from None


def _load_small(picture: Image.Image, side: int) -> None:
    """Decodes all of a picture, a JPEG at an eighth to half of its size if its shorter side stays at least `side`."""
    picture.draft("RGB", (side, side))
    picture.load()


def _upright(picture: Image.Image) -> Image.Image:
    return ImageOps.exif_transpose(picture) if isinstance(picture, JpegImageFile) else picture


def _to_grey(picture: Image.Image) -> Images:
    clear = picture.info.get("transparency")
    if picture.mode.startswith("I"):
        grey = _high_bytes(picture)
        grey[np.asarray(picture) == (-1 if clear is None else clear)] = 255
        return grey
    if clear is not None or picture.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        picture = _on_white(picture.convert("RGBA"))
    return np.asarray(picture if picture.mode == "L" else picture.convert("L"))


def _high_bytes(picture: Image.Image) -> Images:
    """Returns the high bytes of a picture with 16 bits per pixel, which Pillow's own conversion would clip at 255."""
    return (np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode != "RGBA":
        return picture
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
