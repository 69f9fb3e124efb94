"""Normalizing: a user's own picture, any PNG or JPEG, becomes an image like those a model was trained on.

MNIST's images were made from black and white scans: the ink's bounding box scaled to fit 20x20 pixels, its proportions
kept, with grey levels from anti-aliasing, then centred by its centre of mass in 28x28 (Y. LeCun, L. Bottou, Y. Bengio,
P. Haffner, "Gradient-Based Learning Applied to Document Recognition", Proc. IEEE 86(11), 1998, section III.A). Here
the scan comes first: the picture is decoded and turned upright, its paper levelled and its ink found, and what is no
digit dropped.

All of it is TensorFlow operations on plain tensors, no variables and no Python at run time: it is traced into the
exported SavedModel.
"""

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfmnist.photos.decode import WORK_SIDE, decode, resize, to_batch, to_plane
from tfmnist.photos.digits import find_digits
from tfmnist.photos.ink import gradient, quantiles

STROKE = 2.3  # width in 28x28 that thin strokes are brought to: MNIST's median is 2.6, measured as `stroke_width` does
THIN, THICK = 1.9, 4.2  # MNIST's 2nd and 97th percentile


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
        lambda: resize(tf.expand_dims(grey, -1), inner, "area"),
        lambda: resize(tf.expand_dims(grey, -1), inner, "bilinear"),
    )[..., 0]
    before = ([form.height, form.width] - inner) // 2
    after = [form.height, form.width] - inner - before
    image = tf.pad(small - paper, tf.stack([before, after], axis=1)) + paper
    there = tf.reduce_max(grey) - tf.reduce_min(grey) > 8 / 255
    image = tf.where(there, image, 1.0 if form.light_ground else 0.0)
    image = tf.cast(tf.round(tf.clip_by_value(image, 0.0, 1.0) * 255.0), tf.uint8)
    return tf.ensure_shape(image, [form.height, form.width]), tf.cast(there, tf.int64)


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
    return tf.cond(scale < 1, lambda: resize(values, size, "area"), lambda: resize(values, size, "bilinear"))[..., 0]


def _keep_hairlines(ink: tf.Tensor, box: list[int]) -> tf.Tensor:
    """Widens strokes, square by square, that would be less than 1.5 pixels wide in the box."""
    scale, _ = _fit(ink, box)
    missing = tf.maximum(1.5 / scale - stroke_width(ink), 0.0)
    reach = tf.cast(tf.math.ceil(tf.minimum(missing, 64.0) / 2), tf.int32)

    def widen() -> tf.Tensor:
        values = to_batch(tf.pad(ink, tf.stack([[reach, reach], [reach, reach]])))
        for window in (tf.stack([1, 2 * reach + 1, 1, 1]), tf.stack([1, 1, 2 * reach + 1, 1])):
            values = tf.raw_ops.MaxPoolV2(input=values, ksize=window, strides=[1, 1, 1, 1], padding="SAME")
        return to_plane(values)

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
    found = tf.nn.dilation2d(to_batch(ink), tf.expand_dims(disc, -1), [1, 1, 1, 1], "SAME", "NHWC", [1, 1, 1, 1])
    return tf.clip_by_value(to_plane(found), 0.0, 1.0)


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
