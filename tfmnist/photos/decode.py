"""Decoding picture files in graph: a PNG or JPEG becomes an upright picture in colour, of bounded size, on paper.

Pictures that are too large are refused before they are decoded.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfmnist.system.pictures import JPEG, MOST_PIXELS, PNG

WORK_SIDE = 512  # maximum longer side of the picture in which ink is searched


def decode(content: tf.Tensor, side: int = WORK_SIDE) -> tf.Tensor:
    """Decodes a PNG or JPEG, a string scalar, upright and shrunk to `side`: float32 `[h, w, 3]` in [0, 1].

    Raises:
        tf.errors.InvalidArgumentError: not a PNG or JPEG, damaged, or of over 64 megapixels (before it is decoded).
    """
    head = tf.strings.join([tf.strings.substr(content, 0, 26), b"\0" * 26])
    is_png = tf.equal(tf.strings.substr(head, 0, 16), PNG + b"\0\0\0\rIHDR")
    is_jpeg = tf.equal(tf.strings.substr(head, 0, 3), JPEG)
    known = tf.debugging.Assert(is_png | is_jpeg, ["not a PNG or JPEG picture: save it as one"])
    with tf.control_dependencies(_steps(known)):
        size = tf.cond(
            is_png,
            lambda: tf.io.decode_raw(tf.strings.substr(head, 16, 8), tf.int32, little_endian=False)[::-1],
            lambda: tf.io.extract_jpeg_shape(content)[:2],
        )
    size = tf.ensure_shape(size, [2])
    pixels = tf.reduce_prod(tf.cast(size, tf.int64))
    small = tf.reduce_all(size > 0) & tf.reduce_all(size <= MOST_PIXELS) & (pixels <= MOST_PIXELS)
    complaint = ["the picture's size (height, width) is over 64 megapixels, or none: shrink it", size]
    with tf.control_dependencies(_steps(tf.debugging.Assert(small, complaint))):
        content = tf.identity(content)  # so that decoding waits for the assertion
    colours = tf.cond(is_png, lambda: _decode_png(content, side), lambda: _decode_jpeg(content, size, side))
    return tf.ensure_shape(colours, [None, None, 3])


def _steps(assertion: Any) -> list[Any]:
    return [] if assertion is None else [assertion]  # eager assertions have happened already


def _decode_png(content: tf.Tensor, side: int) -> tf.Tensor:
    picture = tf.io.decode_png(content, channels=4)
    opaque = tf.reduce_min(picture[..., 3]) == 255
    return tf.cond(opaque, lambda: shrink(picture, side)[:, :, :3] / 255.0, lambda: lay_on_paper(picture, side))


def _decode_jpeg(content: tf.Tensor, size: tf.Tensor, side: int) -> tf.Tensor:
    # decoding at 1/2, 1/4 or 1/8 of the size makes photos cheap
    halvings = tf.reduce_sum(tf.cast(tf.reduce_max(size) >= [2 * side, 4 * side, 8 * side], tf.int32))

    def at(ratio: int) -> Callable[[], tf.Tensor]:
        return lambda: shrink(tf.io.decode_jpeg(content, channels=3, ratio=ratio), side) / 255.0

    colours = tf.switch_case(halvings, [at(1), at(2), at(4), at(8)])
    return turn_upright(colours, read_orientation(content))


def shrink(picture: tf.Tensor, side: int) -> tf.Tensor:
    """Shrinks a picture so that its longer side is at most `side`, by averaging areas; float32 `[h, w, c]`."""
    size = tf.cast(tf.shape(picture)[:2], tf.float32)
    scale = tf.minimum(side / tf.reduce_max(size), 1.0)
    return resize(picture, tf.maximum(tf.cast(tf.round(size * scale), tf.int32), 1), "area")


def resize(picture: tf.Tensor, size: Any, method: str, antialias: bool = False) -> tf.Tensor:
    """`tf.image.resize` of one picture, `[h, w, c]` to float32 `[h', w', c]`, the same at the same size."""
    picture = tf.ensure_shape(picture, [None, None, None])
    return tf.cast(tf.image.resize(picture[tf.newaxis], size, method=method, antialias=antialias)[0], tf.float32)


def to_batch(plane: tf.Tensor) -> tf.Tensor:
    """`[h, w]` as `[1, h, w, 1]`."""
    return tf.expand_dims(tf.expand_dims(plane, 0), -1)


def to_plane(batch: tf.Tensor) -> tf.Tensor:
    """`[1, h, w, 1]` as `[h, w]`."""
    return tf.ensure_shape(batch[0, :, :, 0], [None, None])


def lay_on_paper(picture: tf.Tensor, side: int) -> tf.Tensor:
    """Fills what is transparent with paper, and shrinks: RGBA, uint8 `[h, w, 4]`, to float32 `[h', w', 3]` in [0, 1].

    If most of the picture is transparent, its opaque part is ink and the paper white or black, whichever contrasts;
    otherwise the paper has the mean colour of what is opaque.
    """
    stride = tf.maximum(tf.reduce_max(tf.shape(picture)[:2]) // (4 * side), 1)  # bounds memory
    values = tf.cast(picture[::stride, ::stride], tf.float32) / 255.0
    colours, cover = values[:, :, :3], values[:, :, 3:]
    opaque = tf.reduce_sum(cover)
    mean = tf.math.divide_no_nan(tf.reduce_sum(colours * cover, axis=[0, 1]), opaque)
    contrasting = tf.fill([3], tf.where(tf.reduce_mean(mean) > 0.5, 0.0, 1.0))
    paper = tf.where(tf.reduce_mean(cover) < 0.5, contrasting, mean)
    return shrink(colours * cover + paper * (1.0 - cover), side)


def read_orientation(content: tf.Tensor) -> tf.Tensor:
    """Returns the orientation in the EXIF data (JEITA CP-3451, tag 274) of a JPEG's first 128 KB, int32, 1 to 8.

    It is 1, upright, if it is missing or invalid.
    """
    data = tf.cast(tf.io.decode_raw(tf.strings.substr(content, 0, 2**17), tf.uint8), tf.int32)
    data = tf.concat([data, tf.zeros([16], tf.int32)], axis=0)
    last = tf.size(data) - 1

    def at(offset: tf.Tensor, count: int) -> tf.Tensor:
        """`count` bytes from an offset on; past the end the last one, which is 0."""
        return tf.gather(data, tf.clip_by_value(tf.expand_dims(offset, -1) + tf.range(count), 0, last))

    def is_exif(offset: tf.Tensor) -> tf.Tensor:
        expected = tf.constant([0xFF, 0xE1, *b"Exif\0\0"])
        return tf.reduce_all(tf.equal(tf.gather(at(offset, 10), [0, 1, 4, 5, 6, 7, 8, 9]), expected))

    def is_before(offset: tf.Tensor) -> tf.Tensor:
        marker = at(offset, 2)
        is_segment = tf.equal(marker[0], 0xFF) & tf.not_equal(marker[1], 0xDA)
        return is_segment & (offset < last) & tf.logical_not(is_exif(offset))

    def step(offset: tf.Tensor) -> tuple[tf.Tensor]:
        length = at(offset + 2, 2)
        return (offset + 2 + tf.maximum(length[0] * 256 + length[1], 2),)

    (segment,) = tf.while_loop(is_before, step, (tf.constant(2),), maximum_iterations=64)
    start = segment + 10
    big = tf.equal(at(start, 1)[0], ord("M"))

    def number(offset: tf.Tensor, count: int) -> tf.Tensor:
        digits = at(offset, count)
        digits = tf.where(big, digits, tf.reverse(digits, [-1]))
        return tf.reduce_sum(digits * [256**power for power in range(count - 1, -1, -1)], axis=-1)

    # three bytes of an offset are enough: what is farther is outside the segment
    table = start + tf.clip_by_value(number(start + tf.where(big, 5, 4), 3), 0, 2**17)
    entries = table + 2 + 12 * tf.range(tf.minimum(number(table, 2), 512))
    fits = tf.equal(number(entries, 2), 274) & tf.equal(number(entries + 2, 2), 3) & (entries + 12 < last)
    value = tf.reduce_max(tf.where(fits, number(entries + 8, 2), 0))
    valid = is_exif(segment) & (number(start + 2, 2) == 42) & (value >= 1) & (value <= 8)
    return tf.where(valid, value, 1)


def turn_upright(picture: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Rotates and mirrors a picture, `[h, w, c]`, by its EXIF orientation, 1 to 8."""

    def is_any(*values: int) -> tf.Tensor:
        return tf.reduce_any(tf.equal(orientation, values))

    picture = tf.cond(is_any(5, 6, 7, 8), lambda: tf.transpose(picture, [1, 0, 2]), lambda: picture)
    picture = tf.cond(is_any(2, 3, 6, 7), lambda: tf.reverse(picture, [1]), lambda: picture)
    return tf.cond(is_any(3, 4, 7, 8), lambda: tf.reverse(picture, [0]), lambda: picture)
