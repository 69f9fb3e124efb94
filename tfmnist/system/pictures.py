"""The one reader of picture files, on Pillow: every usual format, of bounded size, in grey, in colour or as a PNG."""

import io
import re
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from tfmnist.system.files import one_line

Images = npt.NDArray[np.uint8]

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
MOST_PIXELS = 64_000_000
MOST_BYTES = 4 * MOST_PIXELS  # of a file
FORMATS = "PNG, JPEG, BMP, GIF, TIFF or WebP"

_KINDS: dict[bytes, type[ImageFile]] = {  # by what a file begins with
    rb"\x89PNG\r\n\x1a\n": PngImageFile,
    rb"\xff\xd8\xff": JpegImageFile,
    rb"BM": BmpImageFile,
    rb"GIF8[79]a": GifImageFile,
    rb"II[*+]\0|MM\0[*+]": TiffImageFile,
    rb"RIFF....WEBP": WebPImageFile,
}
_HEIC = rb"....ftyp(hei[cmsx]|hev[cmsx]|mif1|msf1)"
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by EXIF's orientation


class UnreadablePicture(Exception):
    """A picture that cannot be decoded; its message is the reason, without the file's name."""


def read_bounded(file: IO[bytes], size: int) -> bytes:
    """Reads a picture's file of a size in bytes, or, if it is too large, just as much as has it refused."""
    return file.read(min(size, MOST_BYTES) + 1)


def read_grey(data: bytes) -> Images:
    """Decodes a picture in grey by ITU-R BT.601, upright: uint8 `[height, width]`.

    Of several frames the first counts. What is transparent becomes white, or black where that is the ground that the
    opaque part suits. Of 16 bits the higher 8 are taken, unless no pixel exceeds 255.

    Raises:
        UnreadablePicture: empty, none of `FORMATS` (HEIC needs the library pillow-heif), of over 64 megapixels or 256
            MB, or damaged.
    """
    with _opened(data) as picture:
        picture = _upright(_load(data, picture))
        if picture.has_transparency_data:
            picture = _on_paper(picture)
        return np.asarray(picture if picture.mode == "L" else picture.convert("L"))


def read_colour(data: bytes, side: int) -> Images:
    """Decodes a picture in colour for a figure, otherwise like `read_grey`: uint8 `[height, width, 3]`.

    Larger pictures are shrunk so that their longer side is `side`. Raises what `read_grey` raises.
    """
    shown = _read_shrunk(data, side)
    return np.asarray((_on_paper(shown) if shown.mode == "RGBA" else shown).convert("RGB"))


def to_png(data: bytes, side: int = 2048) -> bytes:
    """Returns a picture as a PNG of 8 bits that any program decodes alike: upright, in colour, with its transparency.

    Larger pictures are shrunk so that their longer side is `side`. Raises what `read_grey` raises.
    """
    file = io.BytesIO()
    _read_shrunk(data, side).save(file, "PNG", compress_level=1)
    return file.getvalue()


@contextmanager
def _opened(data: bytes) -> Generator[ImageFile]:
    """Opens a picture, nothing of it decoded yet; whatever Pillow raises in the block becomes UnreadablePicture."""
    if not data:
        raise UnreadablePicture("the file is empty")
    if len(data) > MOST_BYTES:
        raise UnreadablePicture(f"over {MOST_BYTES // 10**6} MB: shrink it")
    head = data[:16]
    kind = next((kind for start, kind in _KINDS.items() if re.match(start, head, re.DOTALL)), None)
    if not kind and re.match(_HEIC, head, re.DOTALL):
        try:
            kind = import_module("pillow_heif").HeifImageFile
        except ImportError:
            raise UnreadablePicture(
                "a HEIC picture, which needs the library pillow-heif: pip install pillow-heif"
            ) from None
    if not kind:
        raise UnreadablePicture(f"not a {FORMATS} picture")
    try:
        # not Image.open, which warns of large pictures instead of saying how large they are
        with kind(io.BytesIO(data)) as picture:
            sizes = [picture.size]
            if isinstance(picture, TiffImageFile):  # a tile may be larger than the picture
                sizes.append((picture.tag_v2.get(322, 0), picture.tag_v2.get(323, 0)))
            for width, height in sizes:
                if width * height > MOST_PIXELS:
                    raise UnreadablePicture(
                        f"{width}x{height} pixels, at most {MOST_PIXELS // 10**6} megapixels are read: shrink it"
                    )
            yield picture
    except (UnreadablePicture, MemoryError):
        raise
    except Exception as error:  # Pillow raises a dozen kinds for damaged files
        raise UnreadablePicture(f"damaged: {one_line(error)}" if str(error) else "damaged") from None


def _read_shrunk(data: bytes, side: int) -> Image.Image:
    """Decodes a picture upright, its longer side at most `side`, as RGBA if anything in it is transparent, or RGB."""
    with warnings.catch_warnings(), _opened(data) as picture:
        warnings.simplefilter("ignore")  # odd EXIF data is harmless
        shown = _upright(_load(data, picture, side))
        shown = shown.convert("RGBA" if shown.has_transparency_data else "RGB")
        shown.thumbnail((side, side), Image.Resampling.BOX)
        return shown


def _load(data: bytes, picture: ImageFile, side: int = 0) -> Image.Image:
    """Decodes a picture with 8 bits per channel; a JPEG at a fraction of its size, its shorter side at least `side`."""
    if side:
        picture.draft("RGB", (side, side))
    tiles = [tile for tile in picture.tile if "16" in str(tile.args)]
    picture.load()
    clear = picture.info.get("transparency")
    if picture.mode.startswith(("I", "F")):
        grey = Image.fromarray(_to_8_bits(picture))
        if clear is not None:
            grey.putalpha(Image.fromarray(np.asarray(picture) != clear).convert("L"))
        return grey
    if tiles and picture.mode in ("RGB", "RGBA"):
        if clear:
            picture.info["transparency"] = tuple(value >> 8 for value in clear)
        if not picture.convert("RGB").getbbox() and "LA" not in str(tiles):  # black
            return _load_low_bytes(data, picture, tiles)
    elif picture.mode == "L" and clear and isinstance(picture, PngImageFile):
        picture.info["transparency"] = clear * 255 // (2 ** data[24] - 1)  # for 2 and 4 bits Pillow scales pixels alone
    return picture


def _to_8_bits(picture: Image.Image) -> Images:
    """Returns a picture with 16 or 32 bits per pixel in 8, which Pillow's own conversion would clip at 255."""
    values = np.asarray(picture)
    if isinstance(picture, TiffImageFile) and picture.mode == "I;16" and picture.tag_v2.get(262) == 0:
        values = 65535 - values  # white is 0, which Pillow heeds for 8 bits only
    low, high = values.min(), values.max()
    if not 0 <= low <= high <= 65535:
        raise UnreadablePicture(f"pixels from {low:g} to {high:g}, expected 0 to 65535: save it with 8 bits")
    if high > 255:
        return (values.astype(np.int32) >> 8).astype(np.uint8)
    return np.rint(values * 255 if picture.mode == "F" and high <= 1 else values).astype(np.uint8)


def _load_low_bytes(data: bytes, black: ImageFile, tiles: list[Any]) -> Image.Image:
    """Returns the lower 8 bits of a picture with 16 per channel, of which Pillow takes the higher ones, all of them 0.

    If these are opaque somewhere, the alpha channel stays theirs.
    """
    picture = type(black)(io.BytesIO(data))
    for index, tile in enumerate(tiles):
        first, *rest = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        other = first[:-1] + ("L" if first.endswith("B") else "B")
        picture.tile[index] = tile._replace(args=(other, *rest))
    picture.load()
    if black.mode == "RGBA" and black.getchannel("A").getbbox():
        picture.putalpha(black.getchannel("A"))
    return picture


def _upright(picture: Image.Image) -> Image.Image:
    """Turns a picture as its EXIF data say; not by ImageOps.exif_transpose, which fails if they are damaged."""
    try:
        turn = _TURNS.get(picture.getexif().get(0x0112, 1))
    except Exception:
        turn = None
    return picture if turn is None else picture.transpose(turn)


def _on_paper(picture: Image.Image) -> Image.Image:
    """Lays a picture with transparent parts on white; on black if its opaque part is white ink, or a dark picture."""
    picture = picture.convert("RGBA")
    alpha, levels = picture.getchannel("A"), np.arange(256)
    counts = np.array(picture.convert("L").histogram(alpha))  # of greys that are not transparent
    mean = counts @ levels / max(counts.sum(), 1)
    deviation = np.sqrt(counts @ (levels - mean) ** 2 / max(counts.sum(), 1))
    cover = np.array(alpha.histogram()) @ levels / (255 * picture.width * picture.height)
    is_ink = cover < 0.9 and deviation < 50
    paper = "black" if (mean > 192 if is_ink else mean < 64) else "white"
    return Image.alpha_composite(Image.new("RGBA", picture.size, paper), picture)
