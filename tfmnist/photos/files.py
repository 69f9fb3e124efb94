"""Files of a user's own pictures: their bytes, as an exported model's `image_bytes` takes them."""

from pathlib import Path

from tfmnist.errors import InputError
from tfmnist.system.pictures import UnreadablePicture, check_picture


def read_photo(path: str | Path) -> bytes:
    """Returns the bytes of a PNG or JPEG file, after decoding it once to see whether it is whole.

    Raises:
        InputError: missing, a folder, empty, not a PNG or JPEG, of over 64 megapixels, cut or damaged.
    """
    try:
        contents = Path(path).read_bytes()
        check_picture(contents)
    except OSError as error:
        raise InputError(f"{path}: cannot read the picture: {error.strerror or error}; check the path.") from None
    except ValueError as error:  # a path with a null character
        raise InputError(f"{str(path)!r}: cannot read the picture: {error}; check the path.") from None
    except UnreadablePicture as error:
        raise InputError(f"{path}: {error}; expected a whole PNG or JPEG picture; save it as one.") from None
    return contents
