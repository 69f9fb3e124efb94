"""Decoding picture files in graph: a PNG, JPEG, BMP or GIF becomes an upright picture in colour, of bounded size.

The kind and the size are read from the file's first bytes, so unknown or oversized files are never decoded.
"""

from typing import Any

import tensorflow as tf

from tfmnist.photos.status import Status
from tfmnist.system.pictures import MOST_PIXELS

SIDE = 512  # maximum longer side of a decoded picture

# The offset and magic bytes of each format, and the offsets of height and width, most significant byte first.
_KINDS = (
    (0, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", (20, 21, 22, 23, 16, 17, 18, 19), Status.READ),
    (0, b"BM", (25, 24, 23, 22, 21, 20, 19, 18), Status.READ),
    (0, b"GIF8", (0,) * 8, Status.READ),
    (0, b"\xff\xd8\xff", (0,) * 8, Status.READ),
    (8, b"WEBP", (0,) * 8, Status.WEBP),
    (0, b"II*\0", (0,) * 8, Status.TIFF),
    (0, b"MM\0*", (0,) * 8, Status.TIFF),
    (4, b"ftyp", (0,) * 8, Status.HEIC),
    (0, b"", (0,) * 8, Status.NO_PICTURE),
)
_OFFSETS, _MAGIC, _PLACES, _STATUS = (list(column) for column in zip(*_KINDS))
_PNG, _BMP, _GIF, _JPEG, _NONE = range(5)
_GIF_BLOCKS = 1 << 14  # at most; up to 255 bytes each
_PNG_CHUNKS = 1 << 14  # at most; 8 KB each, if they are as small as libpng writes them
_PNG_SIDE = 1_000_000  # the longest that libpng reads
_PNG_CHANNELS = (1, 1, 3, 1, 2, 1, 4, 1)  # by colour type
_JPEG_SCANS = 64  # at most; progressive pictures have about 10, and a thumbnail as many again
# the orientation entry in the first directory of EXIF data (JEITA CP-3451, tag 274), in either byte order
_ORIENTATION = (
    rb"\A(?:II\C{6}(?:\C{12}){0,60}?\x12\x01\x03\x00\x01\x00\x00\x00([\x01-\x08])\x00"
    rb"|MM\C{6}(?:\C{12}){0,60}?\x01\x12\x00\x03\x00\x00\x00\x01\x00([\x01-\x08]))\C*\z"
)
# per orientation: whether axes are exchanged, then rows reversed, then columns
_TURNS = [[0, 0, 0], [0, 0, 1], [0, 1, 1], [0, 1, 0], [1, 0, 0], [1, 0, 1], [1, 1, 1], [1, 1, 0]]


def decode(content: tf.Tensor, side: int = SIDE) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes a picture file, a string scalar, upright and shrunk so that its longer side is at most `side`.

    Returns:
        uint8 `[h, w, 3]`, transparent areas filled with paper; and the status, int64: 0, or why the
        file was not read. Then the picture is `[1, 1, 3]`.

    Raises:
        tf.errors.InvalidArgumentError: the file is damaged.
    """
    head = tf.strings.join([tf.strings.substr(content, 0, 64), b"\0" * 64])
    starts = tf.strings.substr(tf.fill([len(_KINDS)], head), _OFFSETS, [len(magic) for magic in _MAGIC])
    kind = tf.argmax(tf.equal(starts, _MAGIC), output_type=tf.int32)
    header = tf.cast(tf.io.decode_raw(head, tf.uint8), tf.int64)
    numbers = tf.reshape(tf.gather(header, tf.gather(tf.constant(_PLACES), kind)), [2, 4])
    size = tf.linalg.matvec(numbers, tf.constant([1 << 24, 1 << 16, 1 << 8, 1], tf.int64))
    size = tf.switch_case(tf.minimum(kind, _NONE), [
        lambda: tf.where(_png_is_sound(content, header, size), size, 0),
        lambda: tf.minimum(size, (1 << 32) - size),  # a BMP whose first row is the top has a negative height
        lambda: tf.stack([_gif_pixels(content, header), 1]),
        lambda: tf.where(_jpeg_is_sound(content), tf.cast(tf.io.extract_jpeg_shape(content)[:2], tf.int64), 0),
        lambda: tf.ones([2], tf.int64),
    ])  # fmt: skip
    longest = tf.where(tf.equal(kind, _PNG), tf.constant(_PNG_SIDE, tf.int64), MOST_PIXELS)
    fits = (tf.reduce_min(size) > 0) & (tf.reduce_max(size) <= longest) & (tf.reduce_prod(size) <= MOST_PIXELS)
    unfit = tf.where(tf.reduce_min(size) > 0, tf.constant(Status.TOO_LARGE, tf.int64), Status.DAMAGED)
    status = tf.where(fits, tf.gather(tf.constant(_STATUS, tf.int64), kind), unfit)
    # decoding at 1/2, 1/4 or 1/8 of the size makes photos cheap
    ratio = tf.reduce_sum(tf.cast(tf.reduce_max(size) >= [2 * side, 4 * side, 8 * side], tf.int32))
    way = tf.where(status > 0, 8, tf.where(tf.equal(kind, _JPEG), kind + ratio, kind))
    png16 = tf.equal(header[24], 16) & tf.equal(kind, _PNG)
    picture = tf.switch_case(tf.where(png16 & (status == 0), 7, way), [
        lambda: tf.io.decode_png(content, channels=4),
        lambda: _decode_bmp(content, header),
        lambda: tf.raw_ops.DecodeImage(contents=content, channels=3, expand_animations=False),
        *[lambda ratio=ratio: tf.io.decode_jpeg(content, channels=3, ratio=ratio) for ratio in (1, 2, 4, 8)],
        lambda: _decode_png16(content),
        lambda: tf.zeros([1, 1, 3], tf.uint8),
    ])  # fmt: skip
    picture = tf.ensure_shape(picture, [None, None, None])
    alpha = picture[:, :, 3:]
    # alpha is 1, 3 or 15 instead of 255 if the file has 1, 2 or 4 bits per pixel and no alpha
    has_alpha = (tf.size(alpha) > 0) & (tf.reduce_min(alpha) < tf.reduce_max(alpha))
    colours = tf.cond(has_alpha, lambda: lay_on_paper(picture, side), lambda: picture[:, :, :3])
    return turn_upright(shrink(colours, side), read_orientation(content, kind)), status


def _png_is_sound(content: tf.Tensor, header: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Whether the chunks of a PNG end within the file, and hold no more data than a picture of this size can need.

    The decoder would otherwise allocate what a chunk claims, and unpack all the data there are.
    """
    end = tf.strings.length(content, unit="BYTE")

    def step(position: tf.Tensor, used: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        head = tf.cast(tf.io.decode_raw(tf.strings.substr(content, position, 8), tf.uint8), tf.int64)
        length = tf.tensordot(head[:4], tf.constant([1 << 24, 1 << 16, 1 << 8, 1], tf.int64), 1)
        is_data, is_end = (tf.reduce_all(tf.equal(head[4:], list(name))) for name in (b"IDAT", b"IEND"))
        after = tf.minimum(tf.cast(position, tf.int64) + 12 + length, tf.int32.max)
        return tf.where(is_end, end, tf.cast(after, tf.int32)), used + tf.where(is_data, length, 0)

    start = (tf.constant(8), tf.zeros([], tf.int64))
    position, used = tf.while_loop(lambda at, _: at <= end - 8, step, start, maximum_iterations=_PNG_CHUNKS)
    height, width = tf.unstack(tf.minimum(size, MOST_PIXELS))
    bits = width * header[24] * tf.gather(tf.constant(_PNG_CHANNELS, tf.int64), header[25] & 7)
    most = 2 * height * (1 + (bits + 7) // 8) + (1 << 16)  # twice, for interlacing and data that do not compress
    return (position > end - 8) & (position <= end) & (used <= most)


def _jpeg_is_sound(content: tf.Tensor) -> tf.Tensor:
    """Whether a JPEG has a sane number of scans: each costs as much as to decode the whole picture."""
    parts = tf.raw_ops.StringSplitV2(input=[content], sep=b"\xff\xda", maxsplit=_JPEG_SCANS + 1).values
    return tf.size(parts) <= _JPEG_SCANS + 1


def _decode_png16(content: tf.Tensor) -> tf.Tensor:
    values = tf.io.decode_png(content, channels=4, dtype=tf.uint16)
    # some programs write values from 0 to 255 in 16 bits
    is_small = tf.reduce_max(values[:, :, :3]) < 256
    return tf.cond(
        is_small,
        lambda: tf.cast(tf.minimum(values, 255), tf.uint8),
        lambda: tf.cast(tf.bitwise.right_shift(values, 8), tf.uint8),
    )


def _decode_bmp(content: tf.Tensor, header: tf.Tensor) -> tf.Tensor:
    """Decodes a BMP; one with 8 bits per pixel through its palette, which TensorFlow ignores."""
    picture = tf.io.decode_bmp(content)

    def look_up() -> tf.Tensor:
        start = tf.cast(14 + header[14] + 256 * header[15], tf.int32)
        palette = tf.io.decode_raw(tf.strings.substr(tf.strings.join([content, b"\0" * 1024]), start, 1024), tf.uint8)
        return tf.gather(tf.reshape(palette, [256, 4])[:, 2::-1], tf.cast(picture[:, :, 0], tf.int32))

    return tf.cond(tf.equal(tf.shape(picture)[2], 1), look_up, lambda: picture[:, :, :3])


def _gif_pixels(content: tf.Tensor, header: tf.Tensor) -> tf.Tensor:
    """Returns the pixels, int64, that the decoder holds: of all frames, or of one as wide and as tall as any."""
    data = tf.cast(tf.io.decode_raw(tf.strings.join([content, b"\0" * 16]), tf.uint8), tf.int64)

    def colours(flags: tf.Tensor) -> tf.Tensor:
        """Returns the length of the colour table, from its flags."""
        return tf.where(flags > 127, tf.bitwise.left_shift(tf.constant(6, tf.int64), flags & 7), 0)

    def step(_: tf.Tensor, position: tf.Tensor, inside: tf.Tensor, *sizes: tf.Tensor) -> tuple[tf.Tensor, ...]:
        block = tf.unstack(tf.slice(data, [position], [10]))
        is_frame = tf.equal(block[0], 0x2C) & tf.logical_not(inside)
        is_known = inside | is_frame | tf.equal(block[0], 0x21)  # an extension
        size = tf.stack([block[5] + 256 * block[6], block[7] + 256 * block[8]]) * tf.cast(is_frame, tf.int64)
        length = tf.where(inside, 1 + block[0], tf.where(is_frame, 11 + colours(block[9]), 2))
        inside = tf.logical_not(inside) | (block[0] > 0)
        position = tf.minimum(position + length, last)
        return is_known, position, inside, sizes[0] + tf.reduce_prod(size), tf.maximum(sizes[1], size)

    last = tf.size(data, tf.int64) - 16
    start = (True, tf.minimum(13 + colours(header[10]), last), False, tf.zeros([], tf.int64), tf.zeros([2], tf.int64))
    goes_on, _, _, pixels, most = tf.while_loop(
        lambda goes_on, *_: goes_on, step, start, maximum_iterations=_GIF_BLOCKS
    )
    return tf.maximum(pixels, tf.reduce_prod(most)) + tf.where(goes_on, tf.int64.max // 2, 0)


def shrink(picture: tf.Tensor, side: int) -> tf.Tensor:
    """Shrinks a picture, `[h, w, c]`, to a longer side of at most `side`, by averaging areas; uint8."""
    size = tf.shape(picture)[:2]
    scale = tf.minimum(side / tf.reduce_max(size), 1.0)
    size = tf.maximum(tf.cast(tf.round(tf.cast(size, tf.float64) * scale), tf.int32), 1)

    def resize() -> tf.Tensor:
        return tf.cast(tf.raw_ops.ResizeArea(images=picture[tf.newaxis], size=size)[0] + 0.5, tf.uint8)

    return tf.cond(scale < 1, resize, lambda: picture)


def lay_on_paper(picture: tf.Tensor, side: int) -> tf.Tensor:
    """Fills transparent areas with paper: RGBA, uint8 `[h, w, 4]`, to uint8 `[h', w', 3]`, thinned out if large.

    If most of the picture is transparent, its opaque part is ink and the paper white or black, whichever contrasts;
    otherwise the paper has the mean colour of the opaque part.
    """
    stride = tf.maximum(tf.reduce_max(tf.shape(picture)) // (4 * side), 1)  # bounds memory
    colours, cover = tf.split(tf.cast(picture[::stride, ::stride], tf.float32), [3, 1], axis=-1)
    cover /= 255.0
    mean = tf.math.divide_no_nan(tf.reduce_sum(colours * cover, axis=[0, 1]), tf.reduce_sum(cover))
    contrasting = tf.where(tf.reduce_mean(mean) > 127, 0.0, 255.0)
    paper = tf.where(tf.reduce_mean(cover) < 0.5, contrasting, mean)
    return tf.cast(colours * cover + paper * (1.0 - cover) + 0.5, tf.uint8)


def read_orientation(content: tf.Tensor, kind: Any = _JPEG) -> tf.Tensor:
    """Returns the EXIF orientation of a JPEG or PNG, int32, 1 to 8; 1, upright, if it has none."""

    def read() -> tf.Tensor:
        data = tf.strings.substr(content, 0, tf.where(tf.equal(kind, _PNG), 2**31 - 1, 2**17))
        for order in (rb"II\*\x00", rb"MM\x00\*"):
            data = tf.strings.regex_replace(data, rb"\A\C*?(?:Exif\x00\x00|eXIf)" + order, order[:2], False)
        value = tf.strings.regex_replace(tf.strings.substr(data, 0, 1024), _ORIENTATION, rb"\1\2", False)
        # without a match, more than one byte is left
        value = tf.where(tf.equal(tf.strings.length(value), 1), value, b"\1")
        return tf.cast(tf.io.decode_raw(value, tf.uint8)[0], tf.int32)

    return tf.cond(tf.equal(kind, _PNG) | tf.equal(kind, _JPEG), read, lambda: 1)


def turn_upright(picture: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Rotates and mirrors a picture, `[h, w, c]`, by its EXIF orientation, 1 to 8."""

    def turn() -> tf.Tensor:
        swap, rows, columns = tf.unstack(tf.gather(tf.constant(_TURNS) > 0, orientation - 1))
        order: Any = tf.where(swap, [1, 0, 2], [0, 1, 2])
        turned = tf.transpose(picture, order)
        return tf.raw_ops.Reverse(tensor=turned, dims=tf.stack([rows, columns, False]))

    return tf.ensure_shape(tf.cond(orientation > 1, turn, lambda: picture), [None, None, 3])
