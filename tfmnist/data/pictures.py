"""Picture files: a PNG or JPEG becomes an image in the form of the training data."""

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from tfmnist.errors import InputError


def read_picture(path: str | Path, image_shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Reads a picture of exactly the model's size as light ink on dark ground.

    Args:
        path: a PNG or JPEG, grey or colour; what is transparent counts as white paper.
        image_shape: height and width expected.

    Returns:
        uint8 `[height, width]`. A picture whose border is light is taken for dark ink on paper, and inverted.

    Raises:
        InputError: not a picture, damaged, or of another size.
    """
    height, width = image_shape
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # its size is checked below
            opened = Image.open(path, formats=("PNG", "JPEG"))
        with opened as picture:
            if picture.size != (width, height):  # read off the header: nothing large is decoded
                raise InputError(
                    f"{path}: {picture.width}x{picture.height} pixels, the model takes {width}x{height}: "
                    "crop it to the digit and scale it to that size."
                )
            if picture.mode.startswith("I"):  # 16 bits a pixel
                grey = (np.asarray(picture, np.int64) >> 8).clip(0, 255).astype(np.uint8)
            else:
                colour = picture.convert("RGBA")
                paper = Image.new("RGBA", colour.size, "white")
                grey = np.asarray(Image.alpha_composite(paper, colour).convert("L"))
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(f"{path}: not a PNG or JPEG picture; save it as one.") from None
    except OSError as error:
        reason = error.strerror or f"damaged ({error})"
        raise InputError(f"{path}: cannot read the picture: {reason}.") from None
    except (ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: the picture is damaged ({error}).") from None
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return 255 - grey if np.median(border) > 127 else grey
