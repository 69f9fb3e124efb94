"""The values of an exported model's output `status`: a picture was read, or why not."""

from enum import IntEnum


class Status(IntEnum):
    """Whether a picture was read, or why not; `explain` puts it in words."""

    READ = 0
    NO_PICTURE = 1
    DAMAGED = 2
    TOO_LARGE = 3
    WEBP = 4
    TIFF = 5
    HEIC = 6
    BLANK = 7
    SEVERAL = 8
    TOUCHING = 9
    CROSSED = 10

    def explain(self) -> str:
        """Returns the reason and the remedy, in one line."""
        return _REASONS[self]


_REASONS = {
    Status.READ: "read.",
    Status.NO_PICTURE: "not a PNG, JPEG, BMP or GIF picture; save it as one.",
    Status.DAMAGED: "a damaged PNG, JPEG, BMP or GIF; save it again.",
    Status.TOO_LARGE: "over 64 megapixels; shrink it.",
    Status.WEBP: "a WebP picture, which the model cannot read; save it as PNG or JPEG.",
    Status.TIFF: "a TIFF picture, which the model cannot read; save it as PNG or JPEG.",
    Status.HEIC: "a HEIC or AVIF picture, which the model cannot read; save it as PNG or JPEG.",
    Status.BLANK: "no digit found in it; expected one, dark on light or light on dark; write darker, or come closer.",
    Status.SEVERAL: "several digits found in it, expected one; crop it, or read a number with --split-digits.",
    Status.TOUCHING: "digits that touch, expected one; write them apart, or crop it.",
    Status.CROSSED: "not a digit alone: a line, a box or something else touches it; crop it, or write on plain paper.",
}
