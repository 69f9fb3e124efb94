"""Normalizing: a user's own picture, any PNG or JPEG, becomes an image like those a model was trained on.

MNIST's images were made from black and white scans: the ink's bounding box scaled to fit 20x20 pixels, its proportions
kept, with grey levels from anti-aliasing, then centred by its centre of mass in 28x28 (Y. LeCun, L. Bottou, Y. Bengio,
P. Haffner, "Gradient-Based Learning Applied to Document Recognition", Proc. IEEE 86(11), 1998, section III.A). Here
the scan comes first: the picture is decoded and turned upright, its paper levelled and its ink found, and what is no
digit dropped.

All of it is TensorFlow operations on plain tensors, no variables and no Python at run time: it is traced into the
exported SavedModel.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

MOST_PIXELS = 64_000_000
WORK_SIDE = 512  # longer side of the picture in which ink is looked for, at most
LEAST_SIDE = 112  # and at least: smaller pictures are enlarged
PAPER_SIDE = 96  # longer side of the picture of the paper
PAPER_WINDOWS = (17, 37)  # of its pixels: a stroke is narrower than the second, and most are than the first
FIT_SIDE = 48  # longer side of the picture that the paper's brightness is fitted to
MASK_SIDE = 128  # longer side of the mask in which components are found, at most
MOST_COMPONENTS = 48
SHRINKAGE = [1e-5] + [1e-3] * 5  # of the surface's terms: it is flat where little says that it is not
LEAST_CONTRAST = 0.07  # of ink to paper
STROKE = 2.3  # width in 28x28 that thin strokes are brought to: MNIST's median is 2.6, measured as `stroke_width` does
THIN, THICK = 1.9, 4.2  # MNIST's 2nd and 97th percentile
PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True)
class Form:
    """What the images that a model was trained on look like.

    Attributes:
        height: of an image, in pixels.
        width: of an image, in pixels.
        centred: the ink is scaled to fit a box and centred by its mass, as MNIST was made; else it is only scaled.
        light_ground: dark ink on light ground, instead of MNIST's light ink on black.
        box: the share of the sides that the ink fits; read only where `centred`.

    Example:
        >>> Form.from_dict(Form(28, 28, centred=True, light_ground=False).to_dict()).box
        0.7142857142857143
    """

    height: int
    width: int
    centred: bool
    light_ground: bool
    box: float = 20 / 28

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Form":
        """Returns the form that `to_dict` gave."""
        return cls(**fields)


def find_form(images: NDArray[np.uint8]) -> Form:
    """Returns what training images look like, from at most 1,000 of them, evenly spread.

    Args:
        images: uint8 `[n, height, width]`.

    Returns:
        The form: `light_ground` where the border's median is over 127, `centred` where at least 90 % of the images
        are in the form of MNIST, as `is_in_form` checks it.

    Example:
        >>> find_form(np.zeros([3, 8, 9], np.uint8))
        Form(height=8, width=9, centred=False, light_ground=False, box=0.7142857142857143)
    """
    count, height, width = images.shape
    sample = images[np.linspace(0, count - 1, min(count, 1000)).astype(int)] if count else images
    border = np.concatenate([sample[:, 0], sample[:, -1], sample[:, :, 0], sample[:, :, -1]], axis=1)
    light = bool(count and np.median(border) > 127)
    form = Form(height, width, centred=True, light_ground=light)
    ink = 255 - sample if light else sample
    centred = bool(count) and float(np.mean(is_in_form(tf.constant(ink), form).numpy())) >= 0.9
    return Form(height, width, centred=centred, light_ground=light)


def is_in_form(ink: tf.Tensor, form: Form) -> tf.Tensor:
    """Says which images are in the form of MNIST: their ink fits the box, and its mass is in the middle.

    Args:
        ink: uint8 `[n, height, width]`, 0 is ground.
        form: its `height`, `width` and `box` are read.

    Returns:
        bool `[n]`: what is not exactly 0 has a bounding box no larger than the box, within a pixel of it along one side
        at least, and its centre of mass is within a pixel of the image's centre. (1.2 % of MNIST's images do touch the
        border: the box, not the border, is what they have in common.)

    Example:
        >>> is_in_form(tf.zeros([1, 28, 28], tf.uint8), Form(28, 28, centred=True, light_ground=False)).numpy()
        array([False])
    """
    values = tf.cast(ink, tf.float32)
    mass = tf.reduce_sum(values, axis=[1, 2])
    fits, near, central = [], [], []
    for size, axis in ((form.height, 1), (form.width, 2)):
        profile = tf.reduce_sum(values, axis=3 - axis)  # [n, size]
        places = tf.range(size, dtype=tf.float32)
        there = profile > 0
        extent = tf.reduce_max(tf.where(there, places + 1, 0), 1) - tf.reduce_min(tf.where(there, places, size), 1)
        box = round(form.box * size)
        fits.append(extent <= box)
        near.append(extent >= box - 1)
        centre = tf.math.divide_no_nan(tf.linalg.matvec(profile, places), mass)
        central.append(tf.abs(centre - size / 2) <= 1.0)
    return (mass > 0) & fits[0] & fits[1] & (near[0] | near[1]) & central[0] & central[1]


def normalize(contents: tf.Tensor, form: Form) -> tuple[tf.Tensor, tf.Tensor]:
    """Makes images as a model shall see them from the bytes of picture files.

    Args:
        contents: string `[n]`, a PNG or JPEG each; n may be 0.
        form: what the model was trained on.

    Returns:
        uint8 `[n, height, width]`, and int64 `[n]`: how many digits were found. 0 is a blank picture, and its image all
        ground; where there are several, all their ink is in the image. A picture that is in form is left as it is.

    Raises:
        tf.errors.InvalidArgumentError: not a PNG or JPEG, damaged, or of over 64 megapixels.

    Example:
        >>> picture = tf.io.encode_png(tf.constant([[[0], [200]], [[0], [0]]], tf.uint8))
        >>> images, digits = normalize(picture[tf.newaxis], Form(4, 4, centred=False, light_ground=False))
        >>> images.shape.as_list(), digits.numpy().tolist()
        ([1, 4, 4], [1])
    """

    def one(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images, count = _images(content, form, separate=False)
        return images[0], count

    shape = [form.height, form.width]
    signature = (tf.TensorSpec(shape, tf.uint8), tf.TensorSpec([], tf.int64))
    # pictures decoded at a time: what bounds the memory
    return tf.map_fn(one, contents, fn_output_signature=signature, parallel_iterations=2)


def split_digits(contents: tf.Tensor | bytes, form: Form) -> NDArray[np.uint8]:
    """Makes an image of each digit in one picture, from left to right.

    Args:
        contents: bytes of a PNG or JPEG, or a string scalar.
        form: what the model was trained on.

    Returns:
        uint8 `[k, height, width]`; k is 0 for a blank picture, and 1 for every other where the form is not centred.

    Raises:
        tf.errors.InvalidArgumentError: not a PNG or JPEG, damaged, or of over 64 megapixels.

    Example:
        >>> picture = tf.io.encode_png(tf.fill([60, 40, 1], tf.constant(230, tf.uint8)))
        >>> split_digits(picture, Form(28, 28, centred=False, light_ground=False)).shape
        (0, 28, 28)
    """
    return _splitter(form)(tf.convert_to_tensor(contents, tf.string)).numpy()


@lru_cache(maxsize=8)
def _splitter(form: Form) -> Any:
    def split(content: tf.Tensor) -> tf.Tensor:
        images, count = _images(content, form, separate=True)
        return images[: tf.cast(count, tf.int32)]

    return tf.function(split, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)


def _images(content: tf.Tensor, form: Form, separate: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns uint8 `[k, height, width]`, k at least 1, and how many digits there are, int64."""
    colours = decode(content, max(WORK_SIDE, form.height, form.width))
    if not form.centred:
        image, count = scale_only(colours, form)
        return image[tf.newaxis], count
    grey = tf.cast(tf.round(tf.reduce_mean(colours, axis=-1) * 255.0), tf.uint8)
    shape = [form.height, form.width]
    same_size = tf.reduce_all(tf.equal(tf.shape(grey), shape))
    # nothing but ink and ground, in the form or as its negative: the candidates to be left as they are
    exact = tf.cond(same_size, lambda: tf.reshape(grey, shape), lambda: tf.zeros(shape, tf.uint8))
    candidates = tf.stack([exact, 255 - exact])
    ready = is_in_form(candidates, form) & same_size

    def leave() -> tuple[tf.Tensor, tf.Tensor]:
        return tf.boolean_mask(candidates, ready)[:1], tf.constant(1, tf.int64)

    def make() -> tuple[tf.Tensor, tf.Tensor]:
        ink, groups = find_digits(colours)
        count = tf.reduce_max(groups)
        if separate:
            images = tf.map_fn(
                lambda number: place(tf.where(groups == number, ink, 0.0), form),
                tf.range(1, tf.maximum(count, 1) + 1),
                fn_output_signature=tf.TensorSpec(shape, tf.uint8),
            )
        else:
            images = place(tf.where(groups > 0, ink, 0.0), form)[tf.newaxis]
        return images, tf.cast(count, tf.int64)

    images, count = tf.cond(tf.reduce_any(ready), leave, make)
    images = tf.ensure_shape(images, [None, *shape])
    return (255 - images if form.light_ground else images), count


# 1. Decoding


def decode(content: tf.Tensor, side: int = WORK_SIDE) -> tf.Tensor:
    """Decodes a PNG or JPEG, turned upright and shrunk; what is transparent becomes paper.

    Args:
        content: string scalar.
        side: the longer side of the result, at most.

    Returns:
        float32 `[h, w, 3]` in [0, 1].

    Raises:
        tf.errors.InvalidArgumentError: not a PNG or JPEG, damaged, or of over 64 megapixels (before it is decoded).

    Example:
        >>> decode(tf.io.encode_png(tf.zeros([3, 2, 1], tf.uint8))).shape
        TensorShape([3, 2, 3])
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
    # decoding at 1/2, 1/4 or 1/8 of the size is what makes a photo cheap
    halvings = tf.reduce_sum(tf.cast(tf.reduce_max(size) >= [2 * side, 4 * side, 8 * side], tf.int32))

    def at(ratio: int) -> Callable[[], tf.Tensor]:
        return lambda: shrink(tf.io.decode_jpeg(content, channels=3, ratio=ratio), side) / 255.0

    colours = tf.switch_case(halvings, [at(1), at(2), at(4), at(8)])
    return turn_upright(colours, read_orientation(content))


def shrink(picture: tf.Tensor, side: int) -> tf.Tensor:
    """Shrinks a picture so that its longer side is at most `side`, by averaging areas; float32 `[h, w, c]`.

    Example:
        >>> shrink(tf.zeros([40, 20, 3], tf.uint8), 8).shape
        TensorShape([8, 4, 3])
    """
    size = tf.cast(tf.shape(picture)[:2], tf.float32)
    scale = tf.minimum(side / tf.reduce_max(size), 1.0)
    return _resize(picture, tf.maximum(tf.cast(tf.round(size * scale), tf.int32), 1), "area")


def _resize(picture: tf.Tensor, size: Any, method: str, antialias: bool = False) -> tf.Tensor:
    """`tf.image.resize` of one picture, `[h, w, c]` to float32 `[h', w', c]`, the same at the same size."""
    picture = tf.ensure_shape(picture, [None, None, None])
    return tf.cast(tf.image.resize(picture[tf.newaxis], size, method=method, antialias=antialias)[0], tf.float32)


def _batch(plane: tf.Tensor) -> tf.Tensor:
    """`[h, w]` as `[1, h, w, 1]`."""
    return tf.expand_dims(tf.expand_dims(plane, 0), -1)


def _plane(batch: tf.Tensor) -> tf.Tensor:
    """`[1, h, w, 1]` as `[h, w]`."""
    return tf.ensure_shape(batch[0, :, :, 0], [None, None])


def lay_on_paper(picture: tf.Tensor, side: int) -> tf.Tensor:
    """Fills what is transparent with paper.

    Where most of the picture is transparent, its opaque part is ink, and paper white or black, whichever contrasts;
    else paper has the mean colour of what is opaque.

    Args:
        picture: uint8 `[h, w, 4]`, RGBA.
        side: the longer side of the result, at most.

    Returns:
        float32 `[h', w', 3]` in [0, 1].

    Example:
        >>> float(tf.reduce_max(lay_on_paper(tf.zeros([2, 2, 4], tf.uint8), 8)))  # nothing there: paper
        1.0
    """
    stride = tf.maximum(tf.reduce_max(tf.shape(picture)[:2]) // (4 * side), 1)  # bounds the memory of the next lines
    values = tf.cast(picture[::stride, ::stride], tf.float32) / 255.0
    colours, cover = values[:, :, :3], values[:, :, 3:]
    opaque = tf.reduce_sum(cover)
    mean = tf.math.divide_no_nan(tf.reduce_sum(colours * cover, axis=[0, 1]), opaque)
    contrasting = tf.fill([3], tf.where(tf.reduce_mean(mean) > 0.5, 0.0, 1.0))
    paper = tf.where(tf.reduce_mean(cover) < 0.5, contrasting, mean)
    return shrink(colours * cover + paper * (1.0 - cover), side)


def read_orientation(content: tf.Tensor) -> tf.Tensor:
    """Reads how a camera was held from a JPEG's EXIF data (JEITA CP-3451, tag 274), in its first 128 KB.

    Args:
        content: string scalar.

    Returns:
        int32 scalar, 1 to 8; 1, upright, where nothing is said or what is said is broken.

    Example:
        >>> int(read_orientation(tf.constant(b"no picture")))
        1
    """
    data = tf.cast(tf.io.decode_raw(tf.strings.substr(content, 0, 2**17), tf.uint8), tf.int32)
    data = tf.concat([data, tf.zeros([16], tf.int32)], axis=0)
    last = tf.size(data) - 1

    def at(place: tf.Tensor, count: int) -> tf.Tensor:
        """`count` bytes from a place on; past the end the last one, which is 0."""
        return tf.gather(data, tf.clip_by_value(tf.expand_dims(place, -1) + tf.range(count), 0, last))

    def is_exif(place: tf.Tensor) -> tf.Tensor:
        wanted = tf.constant([0xFF, 0xE1, *b"Exif\0\0"])
        return tf.reduce_all(tf.equal(tf.gather(at(place, 10), [0, 1, 4, 5, 6, 7, 8, 9]), wanted))

    def is_before(place: tf.Tensor) -> tf.Tensor:
        marker = at(place, 2)
        return (
            tf.equal(marker[0], 0xFF) & tf.not_equal(marker[1], 0xDA) & (place < last) & tf.logical_not(is_exif(place))
        )

    def step(place: tf.Tensor) -> tuple[tf.Tensor]:
        length = at(place + 2, 2)
        return (place + 2 + tf.maximum(length[0] * 256 + length[1], 2),)

    (segment,) = tf.while_loop(is_before, step, (tf.constant(2),), maximum_iterations=64)
    start = segment + 10
    big = tf.equal(at(start, 1)[0], ord("M"))

    def number(place: tf.Tensor, count: int) -> tf.Tensor:
        found = at(place, count)
        found = tf.where(big, found, tf.reverse(found, [-1]))
        return tf.reduce_sum(found * [256**power for power in range(count - 1, -1, -1)], axis=-1)

    # three bytes of an offset are enough: what is farther off is outside of the segment
    table = start + tf.clip_by_value(number(start + tf.where(big, 5, 4), 3), 0, 2**17)
    entries = table + 2 + 12 * tf.range(tf.minimum(number(table, 2), 512))
    fits = tf.equal(number(entries, 2), 274) & tf.equal(number(entries + 2, 2), 3) & (entries + 12 < last)
    value = tf.reduce_max(tf.where(fits, number(entries + 8, 2), 0))
    valid = is_exif(segment) & (number(start + 2, 2) == 42) & (value >= 1) & (value <= 8)
    return tf.where(valid, value, 1)


def turn_upright(picture: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turns and mirrors a picture, `[h, w, c]`, as its EXIF orientation says, 1 to 8.

    Example:
        >>> turn_upright(tf.zeros([3, 2, 1]), tf.constant(6)).shape
        TensorShape([2, 3, 1])
    """

    def says(*values: int) -> tf.Tensor:
        return tf.reduce_any(tf.equal(orientation, values))

    picture = tf.cond(says(5, 6, 7, 8), lambda: tf.transpose(picture, [1, 0, 2]), lambda: picture)
    picture = tf.cond(says(2, 3, 6, 7), lambda: tf.reverse(picture, [1]), lambda: picture)
    return tf.cond(says(3, 4, 7, 8), lambda: tf.reverse(picture, [0]), lambda: picture)


# 2. The form that is scaled only


def scale_only(colours: tf.Tensor, form: Form) -> tuple[tf.Tensor, tf.Tensor]:
    """Scales a picture into an image, grey, its proportions kept, its ground as light or dark as the training data's.

    Args:
        colours: float32 `[h, w, 3]` in [0, 1].
        form: its `height`, `width` and `light_ground` are read.

    Returns:
        uint8 `[height, width]`, and int64 1, or 0 where the picture is all one grey: then the image is all ground.

    Example:
        >>> scale_only(tf.zeros([9, 9, 3]), Form(2, 2, centred=False, light_ground=True))[0].numpy().tolist()
        [[255, 255], [255, 255]]
    """
    grey = tf.tensordot(colours, tf.constant([0.299, 0.587, 0.114]), 1)  # ITU-R BT.601
    border = tf.concat([grey[0], grey[-1], grey[:, 0], grey[:, -1]], axis=0)
    paper = quantiles(border, [0.5])[0]
    flip = tf.not_equal(paper > 0.5, form.light_ground)
    grey, paper = tf.where(flip, 1.0 - grey, grey), tf.where(flip, 1.0 - paper, paper)
    size = tf.cast(tf.shape(grey), tf.float32)
    scale = tf.reduce_min([form.height, form.width] / size)
    inner = tf.clip_by_value(tf.cast(tf.round(size * scale), tf.int32), 1, [form.height, form.width])
    small = tf.cond(
        scale <= 1.0,
        lambda: _resize(tf.expand_dims(grey, -1), inner, "area"),
        lambda: _resize(tf.expand_dims(grey, -1), inner, "bilinear"),
    )[..., 0]
    before = ([form.height, form.width] - inner) // 2
    after = [form.height, form.width] - inner - before
    image = tf.pad(small - paper, tf.stack([before, after], axis=1)) + paper
    there = tf.reduce_max(grey) - tf.reduce_min(grey) > 8 / 255
    image = tf.where(there, image, 1.0 if form.light_ground else 0.0)
    image = tf.cast(tf.round(tf.clip_by_value(image, 0.0, 1.0) * 255.0), tf.uint8)
    return tf.ensure_shape(image, [form.height, form.width]), tf.cast(there, tf.int64)


# 3. Ink


def quantiles(values: tf.Tensor, shares: list[float]) -> tf.Tensor:
    """Returns the values below which the given shares of all values lie, float32 `[len(shares)]`.

    Example:
        >>> quantiles(tf.range(101.0), [0.25, 0.5]).numpy()
        array([25., 50.], dtype=float32)
    """
    flat = tf.sort(tf.reshape(values, [-1]))
    places = tf.cast(tf.size(flat) - 1, tf.float32) * tf.constant(shares)
    return tf.gather(flat, tf.cast(tf.round(places), tf.int32))


def find_ink(colours: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the ink of a picture: dark or light, of any colour, on paper that may be grey, coloured and shaded.

    The paper is a smooth surface through most of the picture (`fit_paper`), and what of the difference to it is wider
    than any stroke (`level`). Ink is what differs from paper by more than noise does, its strokes brought to 1.

    Args:
        colours: float32 `[h, w, 3]` in [0, 1].

    Returns:
        float32 `[h, w]` in [0, 1], 1 for ink, edges in between; and bool `[h, w]`, what is surely more than noise. Both
        are zero where there is no ink to be found.

    Example:
        >>> bool(tf.reduce_any(find_ink(tf.ones([40, 40, 3]))[1]))
        False
    """
    paper = fit_paper(colours)
    dark = is_ink_dark(colours)
    # reflectance where ink is darker than paper: a shadow dims both alike
    room = tf.where(dark, paper, 1.0 - paper)
    room = tf.maximum(tf.reduce_max(room, axis=-1, keepdims=True), 0.25)
    difference = tf.reduce_max(level(tf.where(dark, paper - colours, colours - paper) / room), axis=-1)
    difference, spread = measure_noise(difference)
    # in deep shade dividing has amplified the noise of the camera
    undivided, noise = measure_noise(difference * room[:, :, 0])
    more_than_noise = (difference > tf.maximum(LEAST_CONTRAST, 3.5 * spread)) & (undivided > 3.5 * noise)
    contrast = _upper(difference, more_than_noise)
    there = contrast > tf.maximum(LEAST_CONTRAST, 4.5 * spread)
    start = tf.maximum(0.25 * contrast, 2.0 * spread)
    stop = tf.maximum(0.75 * contrast, start + 0.01)
    ink = tf.clip_by_value((difference - start) / (stop - start), 0.0, 1.0)
    return tf.where(there, ink, 0.0), there & more_than_noise & (difference > 0.4 * contrast)


def measure_noise(difference: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Measures how much paper differs from paper, in a picture of which up to 40 % may be ink.

    Args:
        difference: float32 `[h, w]`, ink is positive.

    Returns:
        The differences from the middle of those of paper, float32 `[h, w]`; and their spread, a float32 scalar: from
        the 5 % to the 30 % quantile, which is 1.1 standard deviations without ink, and 1.4 at 40 % of it.

    Example:
        >>> float(measure_noise(tf.ones([9, 9]))[1])
        0.0
    """
    step = tf.maximum(tf.reduce_max(tf.shape(difference)) // MASK_SIDE, 1)
    low, middle = tf.unstack(quantiles(difference[::step, ::step], [0.05, 0.3]))
    return difference - middle - 0.3 * (middle - low), middle - low


def _upper(values: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """The value that 93 % of the chosen values do not reach, to 1/128; 0 where there are none."""
    bins = 256
    over = tf.cast(chosen, tf.int32)
    counts = tf.math.bincount(
        tf.cast(tf.clip_by_value(values, 0.0, 1.99) * (bins / 2), tf.int32),
        weights=over,
        minlength=bins,
        maxlength=bins,
    )
    reached = tf.cumsum(counts)
    wanted = tf.cast(0.93 * tf.cast(reached[-1], tf.float32), tf.int32)
    place = tf.reduce_sum(tf.cast(reached < wanted, tf.float32))
    return tf.where(reached[-1] > 0, place * (2 / bins), 0.0)


def fit_paper(colours: tf.Tensor) -> tf.Tensor:
    """Fits a surface of second degree to the brightness of the paper, which is most of the picture or of its border.

    Least squares, reweighted: by 1 / residual first, which is the least sum of absolute residuals, then by Welsch's
    weights exp(-r² / 2 s²) with s getting smaller, in which ink no longer has a say (P. W. Holland, R. E. Welsch,
    "Robust Regression Using Iteratively Reweighted Least-Squares", Comm. Stat. A6, 1977). A pixel has one weight for
    all its colours.

    Args:
        colours: float32 `[h, w, 3]` in [0, 1].

    Returns:
        float32 `[h, w, 3]` in [0, 1].

    Example:
        >>> fit_paper(tf.fill([20, 20, 3], 0.75)).numpy().round(3).max()
        np.float32(0.75)
    """
    size = tf.shape(colours)[:2]
    scale = FIT_SIDE / tf.reduce_max(size)
    small_size = tf.maximum(tf.cast(tf.round(tf.cast(size, tf.float64) * scale), tf.int32), 4)
    small = tf.reshape(_resize(colours, small_size, "bilinear", antialias=True), [-1, 3])
    terms = tf.reshape(_terms(small_size), [-1, 6])
    edge = tf.reduce_max(tf.abs(terms[:, 1:3]), axis=1) > 0.9
    prior = tf.where(edge, 4.0, 1.0)
    scales = tf.constant([0.0] * 10 + [0.2, 0.15, 0.1, 0.08, 0.06, 0.05, 0.05, 0.05])

    def step(index: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        fitted = tf.matmul(terms, _solve(terms, small, weights))
        residual = tf.norm(small - fitted, axis=1)
        width = scales[index]
        absolute = 1.0 / tf.maximum(residual, 0.02)
        welsch = tf.exp(-0.5 * tf.square(residual / tf.maximum(width, 1e-3))) + 1e-4
        return index + 1, prior * tf.where(width > 0, welsch, absolute)

    _, weights = tf.while_loop(lambda index, _: index < tf.size(scales), step, (tf.constant(0), prior))
    surface = tf.tensordot(_terms(size), _solve(terms, small, weights), 1)
    return tf.clip_by_value(surface, 0.0, 1.0)


def _terms(size: tf.Tensor) -> tf.Tensor:
    """1, y, x, y², xy, x² over a picture, in [-1, 1]: float32 `[h, w, 6]`."""
    y, x = tf.meshgrid(tf.linspace(-1.0, 1.0, size[0]), tf.linspace(-1.0, 1.0, size[1]), indexing="ij")
    return tf.stack([tf.ones_like(x), y, x, y * y, x * y, x * x], axis=-1)


def _solve(terms: tf.Tensor, values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    weighted = terms * (weights / tf.reduce_sum(weights))[:, tf.newaxis]
    normal = tf.matmul(weighted, terms, transpose_a=True) + tf.linalg.diag(tf.constant(SHRINKAGE))
    return tf.linalg.solve(normal, tf.matmul(weighted, values, transpose_a=True))


def is_ink_dark(colours: tf.Tensor) -> tf.Tensor:
    """Says whether ink is darker than paper: what is narrow and darker outweighs what is narrow and lighter.

    Darker and lighter than the local paper, that is: the median over half of the picture's side.

    Args:
        colours: float32 `[h, w, 3]` in [0, 1].

    Returns:
        bool scalar.

    Example:
        >>> is_ink_dark(tf.pad(tf.zeros([4, 4, 3]), [[9, 9], [9, 9], [0, 0]], constant_values=1)).numpy()
        np.True_
    """
    small = _paper_sized(colours)
    paper = local_median(small)

    def energy(difference: tf.Tensor) -> tf.Tensor:
        # above 0 only: else the paper inside of an 0 would be narrow, and lighter than its stroke
        above = tf.nn.relu(tf.reduce_max(difference, axis=-1, keepdims=True))
        return tf.reduce_sum(tf.nn.relu(above - _opening(above, PAPER_WINDOWS[1]) - 0.04))

    return energy(paper - small) >= energy(small - paper)


def local_median(picture: tf.Tensor) -> tf.Tensor:
    """The median around each pixel, over about half of the longer side, channel by channel; `[h, w, c]`.

    It follows the edge of a shadow, and does not see ink.

    Example:
        >>> local_median(tf.ones([96, 50, 1])).shape
        TensorShape([96, 50, 1])
    """
    around = 6
    size = tf.shape(picture)
    coarse = _resize(picture, tf.maximum(size[:2] // 4, 2), "bilinear", antialias=True)
    # mirrored at most as far as there is something to mirror
    for _ in range(around):
        coarse = tf.pad(coarse, [[1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    window = 2 * around + 1
    patches = tf.image.extract_patches(coarse[tf.newaxis], [1, window, window, 1], [1, 1, 1, 1], [1, 1, 1, 1], "VALID")[
        0
    ]
    shape = tf.shape(patches)
    values = tf.reshape(patches, [shape[0], shape[1], window * window, size[2]])
    median = tf.sort(values, axis=2)[:, :, window * window // 2]
    return _resize(median, size[:2], "bilinear")


def level(difference: tf.Tensor) -> tf.Tensor:
    """Takes away what is wider than any stroke, shadows say: a white top-hat of each channel, found in a small picture.

    Its window is the narrow one where that leaves at least half of the outlines that the wide one leaves: strokes do
    not fill it then, and what is between the windows is the edge of a shadow.

    Args:
        difference: float32 `[h, w, c]`, ink is positive.

    Returns:
        float32 `[h, w, c]`; noise is below and above 0.

    Example:
        >>> level(tf.ones([50, 50, 1])).numpy().max()
        np.float32(0.0)
    """
    small = tf.nn.avg_pool2d(_paper_sized(difference)[tf.newaxis], 3, 1, "SAME")[0]
    narrow, wide = (tf.nn.max_pool2d(_opening(small, window)[tf.newaxis], 3, 1, "SAME") for window in PAPER_WINDOWS)

    def outline(under: tf.Tensor) -> tf.Tensor:
        ink = tf.reduce_max(small - under[0], axis=-1)
        ink = tf.clip_by_value(ink / tf.maximum(tf.reduce_max(ink), LEAST_CONTRAST) * 3.0 - 1.0, 0.0, 1.0)
        return tf.reduce_sum(gradient(ink))

    under = tf.where(outline(narrow) >= 0.5 * outline(wide), narrow, wide)
    under = tf.nn.avg_pool2d(under, 5, 1, "SAME")[0]
    return difference - _resize(under, tf.shape(difference)[:2], "bilinear")


def _paper_sized(picture: tf.Tensor) -> tf.Tensor:
    size = tf.cast(tf.shape(picture)[:2], tf.float32)
    size = tf.cast(tf.round(size * (PAPER_SIDE / tf.reduce_max(size))), tf.int32)
    return _resize(picture, tf.maximum(size, 2), "bilinear", antialias=True)


def _opening(picture: tf.Tensor, window: int) -> tf.Tensor:
    """The minimum, then the maximum over windows: what is narrower than the window and lighter is gone. `[h, w, c]`."""

    def largest(values: tf.Tensor) -> tf.Tensor:
        values = tf.nn.max_pool2d(values, [window, 1], 1, "SAME")
        return tf.nn.max_pool2d(values, [1, window], 1, "SAME")

    return largest(-largest(-picture[tf.newaxis]))[0]


# 4. Digits


def cut_edges(colours: tf.Tensor) -> tf.Tensor:
    """Cuts off what lies around the paper: whole rows and columns at the border that are far darker than the middle.

    Args:
        colours: float32 `[h, w, 3]` in [0, 1].

    Returns:
        float32 `[h', w', 3]`: up to a third of the picture is cut off on each side, and only if the edge is sharp and
        something is on the paper.

    Example:
        >>> page = tf.pad(tf.ones([80, 60, 3]), [[10, 10], [5, 5], [0, 0]])  # in a black frame
        >>> cut_edges(page - tf.pad(tf.ones([9, 9, 3]), [[50, 41], [30, 31], [0, 0]])).shape
        TensorShape([76, 56, 3])
    """
    small = tf.reduce_mean(_paper_sized(colours), axis=-1)
    size = tf.shape(small)

    def middle(start: tf.Tensor, stop: tf.Tensor, left_out: int) -> tf.Tensor:
        margin = (stop - start) // left_out
        return small[start[0] + margin[0] : stop[0] - margin[0], start[1] + margin[1] : stop[1] - margin[1]]

    paper = quantiles(middle(tf.zeros([2], tf.int32), size, 4), [0.5])[0]
    dark = tf.cast(small < paper - 0.35, tf.float32)

    def edge(axis: int, backwards: bool) -> tf.Tensor:
        """How many rows or columns from the border on are dark, with one for the edge itself."""
        share, light = tf.reduce_mean(dark, axis=1 - axis), tf.reduce_mean(small, axis=1 - axis)
        if backwards:
            share, light = share[::-1], light[::-1]
        run = tf.reduce_sum(tf.math.cumprod(tf.cast(share > 0.97, tf.int32)))
        jump = light[tf.minimum(run + 2, size[axis] - 1)] - light[tf.maximum(run - 1, 0)]
        return tf.where((run > 0) & (run < size[axis] // 3) & (jump > 0.2), run + 1, 0)

    start = tf.stack([edge(0, False), edge(1, False)])
    stop = size - tf.stack([edge(0, True), edge(1, True)])
    written = tf.reduce_mean(tf.cast(tf.abs(middle(start, stop, 10) - paper) > 0.1, tf.float32))
    cut = (tf.reduce_any(start > 0) | tf.reduce_any(stop < size)) & (written > 0.002)
    scale = tf.cast(tf.shape(colours)[:2], tf.float32) / tf.cast(size, tf.float32)
    start = tf.cast(tf.math.ceil(tf.cast(start, tf.float32) * scale), tf.int32)
    stop = tf.cast(tf.floor(tf.cast(stop, tf.float32) * scale), tf.int32)
    return tf.cond(cut, lambda: colours[start[0] : stop[0], start[1] : stop[1]], lambda: colours)


def add_margin(colours: tf.Tensor) -> tf.Tensor:
    """Adds paper around a picture that is cropped so tightly that paper might be the smaller part of it.

    That is where the border is of one colour, and more than a sixth of the picture of another.

    Args:
        colours: float32 `[h, w, 3]` in [0, 1].

    Returns:
        float32 `[h', w', 3]`, larger by half of the longer side, or as it was.

    Example:
        >>> add_margin(tf.pad(tf.zeros([8, 2, 3]), [[1, 1], [1, 1], [0, 0]], constant_values=1)).shape
        TensorShape([14, 8, 3])
    """
    border = tf.concat([colours[0], colours[-1], colours[:, 0], colours[:, -1]], axis=0)
    middle = tf.sort(border, axis=0)[tf.shape(border)[0] // 2]
    step = tf.maximum(tf.reduce_max(tf.shape(colours)) // MASK_SIDE, 1)
    difference = tf.reduce_max(tf.abs(colours[::step, ::step] - middle), axis=-1)
    most = tf.reduce_max(difference)
    uneven = quantiles(tf.reduce_max(tf.abs(border - middle), axis=-1), [0.95])[0]
    other = tf.reduce_mean(tf.cast(difference > 0.5 * most, tf.float32))
    tight = (other > 1 / 6) & (most > LEAST_CONTRAST) & (uneven < 0.2 * most)
    margin = tf.where(tight, tf.reduce_max(tf.shape(colours)) // 4, 0)
    return tf.pad(colours - middle, tf.stack([[margin, margin], [margin, margin], [0, 0]])) + middle


def find_digits(colours: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the ink, and the digits that it makes up.

    Args:
        colours: float32 `[h, w, 3]` in [0, 1].

    Returns:
        float32 `[h', w']` in [0, 1], 1 for ink; and int32 `[h', w']`, for every pixel of a digit and close to it the
        digit's number, from left to right 1, 2, ...; 0 elsewhere.

    Example:
        >>> find_digits(tf.ones([40, 40, 3]))[1].numpy().max()
        np.int32(0)
    """
    size = tf.shape(colours)[:2]
    longer = tf.reduce_max(size)
    enlarged = tf.cast(tf.math.ceil(LEAST_SIDE / longer), tf.int32)
    colours = tf.cond(enlarged > 1, lambda: _resize(colours, size * enlarged, "bilinear"), lambda: colours)
    ink, sure = find_ink(add_margin(cut_edges(colours)))
    size = tf.shape(ink)
    # by the largest value, so that a hairline is not lost
    factor = -(-tf.reduce_max(size) // MASK_SIDE)
    mask = _pool(tf.cast(sure, tf.float32), factor)
    groups = group_components(label_components(mask))
    dropped = (mask > 0) & (groups == 0)
    around = _plane(tf.nn.max_pool2d(_batch(tf.cast(groups, tf.float32)), 3, 1, "SAME"))
    groups = tf.where(dropped, 0, tf.where(groups > 0, groups, tf.cast(around, tf.int32)))
    return ink, tf.repeat(tf.repeat(groups, factor, axis=0), factor, axis=1)[: size[0], : size[1]]


def _pool(values: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    window = tf.stack([1, factor, factor, 1])
    pooled = tf.raw_ops.MaxPoolV2(input=_batch(values), ksize=window, strides=window, padding="SAME")
    return _plane(pooled)


def label_components(mask: tf.Tensor) -> tf.Tensor:
    """Numbers the connected components of a mask, diagonals connect.

    Every pixel starts with a number of its own, and takes the largest among its neighbours until nothing changes.

    Args:
        mask: float32 `[h, w]`, 0 or 1.

    Returns:
        int32 `[h, w]`: -1 outside, else 0, 1, ... for each component.

    Example:
        >>> label_components(tf.constant([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]])).numpy().tolist()
        [[0, -1, 1], [0, -1, -1]]
    """
    shape = tf.shape(mask)
    numbers = tf.cast(tf.reshape(tf.range(1, tf.size(mask) + 1), shape), tf.float32)
    mask = _batch(mask)
    start = mask * _batch(numbers)

    def step(changed: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        spread = labels
        for _ in range(4):
            spread = tf.nn.max_pool2d(spread, 3, 1, "SAME") * mask
        return tf.reduce_any(tf.not_equal(spread, labels)), spread

    _, labels = tf.while_loop(lambda changed, _: changed, step, (tf.constant(True), start))
    flat = tf.reshape(labels, [-1])
    inside = flat > 0
    _, index = tf.unique(tf.boolean_mask(flat, inside))
    found = tf.tensor_scatter_nd_update(tf.fill(tf.shape(flat), -1), tf.where(inside), index)
    return tf.ensure_shape(tf.reshape(found, shape), [None, None])


def group_components(labels: tf.Tensor) -> tf.Tensor:
    """Makes digits of components, and drops what belongs to none.

    Dropped are specks, lines from side to side, and what lies along the border or is cut by it where something
    substantial is off the border. Components whose horizontal extents overlap, by a quarter of the narrower at least,
    are one digit; small ones go with the digit that they are close to.

    Args:
        labels: int32 `[h, w]` from `label_components`.

    Returns:
        int32 `[h, w]`: 0 outside, else 1, 2, ... for each digit from left to right.

    Example:
        >>> group_components(tf.constant([[0, -1, 1], [0, -1, 1], [0, -1, 1]])).numpy().tolist()
        [[1, 0, 2], [1, 0, 2], [1, 0, 2]]
    """
    height, width = tf.unstack(tf.cast(tf.shape(labels), tf.float32))
    places = tf.where(labels >= 0)
    ids = tf.gather_nd(labels, places)
    count = tf.reduce_max(tf.concat([ids, [-1]], axis=0)) + 1
    areas = tf.math.bincount(ids, minlength=count, maxlength=count)
    # the largest ones, what is among thousands of specks is no digit; one that is empty where there are none
    areas = tf.concat([areas, [0]], axis=0)
    _, chosen = tf.math.top_k(areas, tf.minimum(count + 1, MOST_COMPONENTS))
    kept = tf.size(chosen)
    renumbered = tf.tensor_scatter_nd_update(tf.fill([count + 1], kept), chosen[:, tf.newaxis], tf.range(kept))
    ids = tf.gather(renumbered, ids)
    y, x = tf.cast(places[:, 0], tf.float32), tf.cast(places[:, 1], tf.float32)

    def extent(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        least = tf.math.unsorted_segment_min(values, ids, kept + 1)[:kept]
        return least, tf.math.unsorted_segment_max(values, ids, kept + 1)[:kept] + 1

    (top, bottom), (left, right) = extent(y), extent(x)
    longer = tf.maximum(bottom - top, right - left)

    def share(where: tf.Tensor) -> tf.Tensor:
        """How much of a component's longer side lies along one side of the picture."""
        return tf.math.unsorted_segment_sum(tf.cast(where, tf.float32), ids, kept + 1)[:kept] / longer

    sides = [share(y <= 0), share(y >= height - 1), share(x <= 0), share(x >= width - 1)]
    touching = tf.add_n(sides) > 0
    large = longer >= 0.04 * tf.maximum(height, width)
    free = tf.reduce_max(tf.where(touching | ~large, 0.0, longer), keepdims=True)  # [1]: the largest off the border
    free = tf.reduce_max(tf.concat([free, [0.0]], axis=0))
    along = tf.add_n(sides) > 0.5
    across = ((left <= 0) & (right >= width)) | ((top <= 0) & (bottom >= height))
    cut = touching & (longer < 0.5 * free)
    ruling = across & (tf.minimum(bottom - top, right - left) < 0.05 * tf.maximum(height, width))
    alive = large & ~ruling & ~((free > 0.1 * tf.maximum(height, width)) & (touching & (along | across | cut)))
    largest = tf.reduce_max(tf.concat([tf.where(alive, longer, 0.0), [0.0]], axis=0))
    substantial = alive & (longer >= 0.35 * largest)

    overlap = tf.minimum(right[:, tf.newaxis], right) - tf.maximum(left[:, tf.newaxis], left)
    narrower = tf.minimum((right - left)[:, tf.newaxis], right - left)
    joined = (overlap >= 0.25 * narrower) & substantial[:, tf.newaxis] & substantial
    reach = tf.cast(joined, tf.float32)
    for _ in range(6):  # paths of up to 64 steps
        reach = tf.cast(tf.matmul(reach, reach) > 0, tf.float32)
    # a digit starts at the left of its leftmost component
    starts = tf.reduce_min(tf.where(reach > 0, left, width + 1) + 0 * left[:, tf.newaxis], axis=1)
    ranks = reach * tf.range(1, kept + 1, dtype=tf.float32)[::-1]
    ranks = tf.concat([ranks, tf.zeros([kept, 1])], axis=1)  # of no components too there is a largest
    first = tf.argmax(ranks, axis=1, output_type=tf.int32)
    leaders = substantial & tf.equal(first, tf.range(kept))
    order = tf.argsort(tf.where(leaders, starts, width + 2))
    numbers = tf.tensor_scatter_nd_update(tf.zeros([kept], tf.int32), order[:, tf.newaxis], tf.range(1, kept + 1))
    digit = tf.where(substantial, tf.gather(numbers, first), 0)

    # pieces of a broken stroke, if there is anything that they can belong to
    gap_x = tf.maximum(left[:, tf.newaxis], left) - tf.minimum(right[:, tf.newaxis], right)
    gap_y = tf.maximum(top[:, tf.newaxis], top) - tf.minimum(bottom[:, tf.newaxis], bottom)
    gap = tf.where(substantial, tf.maximum(gap_x, gap_y), 1e6)  # [piece, component]
    small = tf.logical_not(substantial | touching) & (longer >= 0.08 * largest)
    nearest = tf.argmin(tf.concat([gap, tf.fill([kept, 1], 1e6)], axis=1), axis=1, output_type=tf.int32)
    close = small & (tf.reduce_min(gap, axis=1) <= 0.12 * largest)
    digit = tf.where(close, tf.gather(tf.concat([digit, [0]], axis=0), nearest), digit)
    return tf.tensor_scatter_nd_update(
        tf.zeros(tf.shape(labels), tf.int32), places, tf.gather(tf.concat([digit, [0]], axis=0), ids)
    )


# 5. Placing


def stroke_width(ink: tf.Tensor) -> tf.Tensor:
    """Returns the mean width of strokes: twice the area by the outline's length, which is the sum of |gradient|.

    Args:
        ink: float32 `[h, w]` in [0, 1], its strokes at 1.

    Returns:
        float32 scalar, in pixels; 0 where there is no ink.

    Example:
        >>> round(float(stroke_width(tf.pad(tf.ones([100, 4]), [[9, 9], [9, 9]]))), 1)
        3.9
    """
    return 2 * tf.math.divide_no_nan(tf.reduce_sum(ink), tf.reduce_sum(gradient(tf.pad(ink, [[1, 1], [1, 1]]))))


def gradient(values: tf.Tensor) -> tf.Tensor:
    """Returns |gradient| by central differences, float32 `[h, w]`; there is 0 outside.

    Example:
        >>> gradient(tf.constant([[0.0, 0.0, 1.0, 1.0]])).numpy()[0, 1]
        np.float32(0.5)
    """
    padded = tf.pad(values, [[1, 1], [1, 1]])
    down = (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2
    across = (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2
    return tf.sqrt(down * down + across * across)


def place(ink: tf.Tensor, form: Form) -> tf.Tensor:
    """Places ink in an image as MNIST's was: scaled to fit the box, centred by its mass.

    It is done in an image four times as large first, where strokes that would be far thinner or thicker than MNIST's
    are thickened or thinned.

    Args:
        ink: float32 `[h, w]` in [0, 1].
        form: its `height`, `width` and `box` are read.

    Returns:
        uint8 `[height, width]`, 0 for ground whatever the form's is.

    Example:
        >>> place(tf.ones([8, 4]), Form(28, 28, centred=True, light_ground=False)).numpy().any(axis=1).sum()
        np.int64(20)
    """
    shape = [form.height, form.width]
    finer = max(1, round(112 / max(shape)))
    box = [round(form.box * form.height), round(form.box * form.width)]
    large_box = [side * finer for side in box]
    unit = finer * max(shape) / 28  # pixels of the large image to one of MNIST's

    def make() -> tf.Tensor:
        large = scale_to_fit(_keep_hairlines(crop(ink), large_box), large_box)
        large = match_strokes(large, unit)
        small = scale_to_fit(crop(large), box)
        return centre(tf.clip_by_value(small, 0.0, 1.0), shape)

    image = tf.cond(tf.reduce_any(ink > 0.5), make, lambda: tf.zeros(shape))
    return tf.cast(tf.round(tf.ensure_shape(image, shape) * 255.0), tf.uint8)


def crop(ink: tf.Tensor) -> tf.Tensor:
    """Cuts an image down to its ink, what is over 0.5, float32 `[h, w]` to `[h', w']`; there must be some.

    Example:
        >>> crop(tf.pad(tf.ones([3, 2]), [[1, 1], [5, 5]])).shape
        TensorShape([3, 2])
    """
    ink = tf.ensure_shape(ink, [None, None])
    places = tf.where(ink > 0.5)
    (top, left), (bottom, right) = tf.unstack(tf.reduce_min(places, 0)), tf.unstack(tf.reduce_max(places, 0) + 1)
    return ink[top:bottom, left:right]


def _fit(ink: tf.Tensor, box: list[int]) -> tuple[tf.Tensor, tf.Tensor]:
    size = tf.cast(tf.shape(ink), tf.float32)
    scale = tf.reduce_min(tf.constant(box, tf.float32) / size)
    return scale, tf.maximum(tf.cast(tf.round(size * scale), tf.int32), 1)


def scale_to_fit(ink: tf.Tensor, box: list[int]) -> tf.Tensor:
    """Scales an image, float32 `[h, w]`, as large as it fits a box, its proportions kept.

    Example:
        >>> scale_to_fit(tf.ones([8, 4]), [20, 20]).shape
        TensorShape([20, 10])
    """
    scale, size = _fit(ink, box)
    values = tf.expand_dims(ink, -1)
    return tf.cond(scale < 1, lambda: _resize(values, size, "area"), lambda: _resize(values, size, "bilinear"))[..., 0]


def _keep_hairlines(ink: tf.Tensor, box: list[int]) -> tf.Tensor:
    """Widens strokes, square by square, that would be less than 1.5 pixels wide in the box."""
    scale, _ = _fit(ink, box)
    missing = tf.maximum(1.5 / scale - stroke_width(ink), 0.0)
    reach = tf.cast(tf.math.ceil(tf.minimum(missing, 64.0) / 2), tf.int32)

    def widen() -> tf.Tensor:
        values = _batch(tf.pad(ink, tf.stack([[reach, reach], [reach, reach]])))
        for window in (tf.stack([1, 2 * reach + 1, 1, 1]), tf.stack([1, 1, 2 * reach + 1, 1])):
            values = tf.raw_ops.MaxPoolV2(input=values, ksize=window, strides=[1, 1, 1, 1], padding="SAME")
        return _plane(values)

    return tf.cond(reach > 0, widen, lambda: ink)


def match_strokes(ink: tf.Tensor, unit: float) -> tf.Tensor:
    """Thickens strokes that are far thinner than MNIST's, and thins those that are far thicker, by a round pen.

    Args:
        ink: float32 `[h, w]` in [0, 1], filling its frame.
        unit: how many of its pixels one of MNIST's 28 is.

    Returns:
        float32 `[h', w']`, with a margin.

    Example:
        >>> thick = match_strokes(tf.ones([80, 2]), 4.0)
        >>> int(tf.reduce_max(tf.reduce_sum(thick, axis=1)))
        9
    """
    side = tf.cast(tf.reduce_max(tf.shape(ink)), tf.float32)
    width = stroke_width(ink)
    # thickening by d makes the ink d larger too, which is then scaled back to the box
    wanted = tf.clip_by_value(width, THIN * unit, THICK * unit)
    wanted = tf.where(width < THIN * unit, STROKE * unit, wanted)
    change = (wanted - width) / (1.0 - wanted / side)
    change = tf.clip_by_value(change, -0.3 * width, STROKE * unit * 1.5)
    margin = int(3 * unit)
    padded = tf.pad(ink, [[margin, margin], [margin, margin]])
    return tf.cond(
        change > 0.5,
        lambda: _dilate(padded, change / 2),
        lambda: tf.cond(change < -0.5, lambda: 1.0 - _dilate(1.0 - padded, -change / 2), lambda: padded),
    )


def _dilate(ink: tf.Tensor, radius: tf.Tensor) -> tf.Tensor:
    """The largest value under a disc with soft edges."""
    reach = tf.math.ceil(radius)
    offsets = tf.range(-reach, reach + 1)
    distance = tf.sqrt(tf.square(offsets[:, tf.newaxis]) + tf.square(offsets))
    disc = tf.clip_by_value(radius + 0.5 - distance, 0.0, 1.0) - 1.0
    disc = tf.where(distance > 0, disc, 0.0)
    found = tf.nn.dilation2d(_batch(ink), tf.expand_dims(disc, -1), [1, 1, 1, 1], "SAME", "NHWC", [1, 1, 1, 1])
    return tf.clip_by_value(_plane(found), 0.0, 1.0)


def centre(ink: tf.Tensor, shape: list[int]) -> tf.Tensor:
    """Pads an image so that its centre of mass is in the middle, by whole pixels, and nothing is cut off.

    Args:
        ink: float32 `[h, w]`, no larger than `shape`.
        shape: height and width of the result.

    Returns:
        float32 `[height, width]`.

    Example:
        >>> centre(tf.ones([1, 1]), [4, 4]).numpy().argmax()
        np.int64(10)
    """
    mass = tf.reduce_sum(ink)
    before = []
    for axis, side in enumerate(shape):
        length = tf.shape(ink)[axis]
        places = tf.range(tf.cast(length, tf.float32))
        middle = tf.reduce_sum(tf.reduce_sum(ink, axis=1 - axis) * places) / mass
        start = tf.cast(tf.round(side / 2 - middle), tf.int32)
        before.append(tf.clip_by_value(start, 0, side - length))
    after = [side - tf.shape(ink)[axis] - before[axis] for axis, side in enumerate(shape)]
    return tf.pad(ink, tf.stack([[before[0], after[0]], [before[1], after[1]]]))
