"""The one bounded reader of picture files, on Pillow."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

Images = npt.NDArray[np.uint8]

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"


class Broken(Exception):
    """A picture that cannot be decoded, and why."""


def decode(data: bytes) -> Images:
    """Decodes a picture by Pillow.

    Returns:
        uint8 `[height, width]`.

    Raises:
        Broken: it cannot be decoded.
    """
    if not data:
        raise Broken("the file is empty")
    if not data.startswith((PNG, JPEG)):
        raise Broken("not a PNG or JPEG picture")
    try:
        # The classes, since Image.open would warn of a large picture, and not say that it is too large.
        with (JpegImageFile if data.startswith(JPEG) else PngImageFile)(io.BytesIO(data)) as picture:
            width, height = picture.size
            if Image.MAX_IMAGE_PIXELS and width * height > 2 * Image.MAX_IMAGE_PIXELS:
                raise Broken(f"{width}x{height} pixels, a decompression bomb?")
            picture.load()
            return to_grey(ImageOps.exif_transpose(picture) if isinstance(picture, JpegImageFile) else picture)
    except (Broken, MemoryError):
        raise
    except Exception as error:  # Pillow raises a dozen kinds for damaged files
        raise Broken(" ".join(str(error).split()) or type(error).__name__) from None


def to_grey(picture: Image.Image) -> Images:
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
