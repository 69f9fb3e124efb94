"""Finding ink in graph: what is drawn on a picture, dark or light, of any colour, on paper that may be shaded.

Pictures come in batches, each stretched to a square, so that all shapes are known when the graph is traced.
"""

from typing import Any

import tensorflow as tf

SIDE = 256  # pixels of the square
PAPER_SIDE = 64  # of the small picture in which the paper is estimated
WIDEST = 31  # of its pixels: wider than any stroke, narrower than most shadows
MIN_CONTRAST = 0.07  # between ink and paper
SHADE = 0.3  # what differs less from the paper may be shade
MIN_RISE = 0.14  # of such ink, within three pixels of the small picture: shade rises slowly
MOST_SHADE = 0.5  # what is darker than the lightest paper by more is ink
_STEP = PAPER_SIDE // 8  # across which slopes are measured
_BINS = 512
_IGNORED = 9.0


def find_ink(pictures: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the ink of pictures, float32 `[n, SIDE, SIDE, 3]` in [0, 1].

    The paper's colour is estimated at every point from surroundings without strokes; the ink is a pixel's
    difference from it, so grey levels are kept.

    Returns:
        float32 `[n, SIDE, SIDE]` in [0, 1], 1 for full-strength ink; and float32 `[n, 1, 1]`, the level that exceeds
        the noise. The first is 0 everywhere if there is no ink.
    """
    small = tf.nn.avg_pool2d(pictures, SIDE // PAPER_SIDE, SIDE // PAPER_SIDE, "VALID")
    is_dark, plane = survey(tf.reduce_mean(small, -1))
    sign = 1.0 - 2.0 * is_dark
    small = small * sign + is_dark - plane  # from here on, ink is light and the lighting even
    paper = opening(small, WIDEST, WIDEST)
    paper = tf.minimum(paper, tf.reduce_min(paper, [1, 2], keepdims=True) + MOST_SHADE)  # thick strokes fill the window
    # colours count by their contrast
    weights = tf.reduce_sum((small - paper) ** 3, [1, 2], keepdims=True) + 1e-9
    weights /= tf.reduce_sum(weights, -1, keepdims=True)
    rise = tf.reduce_sum((small - paper) * weights, -1, keepdims=True)
    paper = tf.reduce_sum((paper + plane) * weights, -1, keepdims=True)
    # reflectance: a shadow dims ink and paper alike
    room = tf.maximum(1.0 - paper, 0.25)
    rise /= room
    rise = tf.reduce_max(tf.reduce_sum(largest(tf.concat([rise, -rise], -1), 3, 3), -1), [1, 2], keepdims=True)
    paper = tf.nn.avg_pool2d(tf.concat([(paper - is_dark) * sign, sign * room], -1), 3, 1, "SAME")
    paper, room = tf.unstack(tf.image.resize(paper, [SIDE, SIDE]), axis=-1)
    pixels = tf.reshape(pictures, [-1, SIDE * SIDE, 3])
    difference = (
        tf.reshape(pixels @ tf.squeeze(tf.transpose(weights, [0, 1, 3, 2]), 1), [-1, SIDE, SIDE]) - paper
    ) / room
    sample = difference[:, ::2, ::2]
    low, middle = quantiles(sample, 0.05, 0.3)
    noise = middle - low  # of which up to 40 % of the picture may be ink
    floor = tf.maximum(MIN_CONTRAST, 3.5 * noise)
    paper = middle + 0.3 * noise
    contrast = quantiles(tf.where(sample > paper + floor, sample, _IGNORED), 0.93)[0] - paper
    rises = (rise > MIN_RISE) | (steepest(sample) > tf.maximum(MIN_RISE, 2.0 * floor))
    is_ink = (contrast > 1.3 * floor) & (rises | (contrast > SHADE))
    contrast = tf.where(is_ink, contrast, 1e6)
    return tf.clip_by_value((difference - paper) / contrast, 0.0, 1.0), floor / contrast


def steepest(values: tf.Tensor) -> tf.Tensor:
    """Returns the largest difference between neighbours, float32 `[n, 1, 1]`, in values, `[n, h, w]`."""
    down, across = values[:, 1:] - values[:, :-1], values[:, :, 1:] - values[:, :, :-1]
    most = [tf.reduce_max(tf.abs(steps), [1, 2], keepdims=True) for steps in (down, across)]
    return tf.maximum(most[0], most[1])


def survey(grey: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Surveys small grey pictures, float32 `[n, PAPER_SIDE, PAPER_SIDE]` in [0, 1].

    Returns:
        float32 `[n, 1, 1, 1]`, 1 where ink is darker than paper, else 0; and `[n, PAPER_SIDE, PAPER_SIDE, 1]`, a plane
        that falls off as light does, of the picture in which ink is light.
    """
    turned = tf.transpose(grey, [0, 2, 1])
    border = tf.concat([grey[:, :2], grey[:, -2:], turned[:, :2], turned[:, -2:]], 1)
    border = tf.tile(border, [1, PAPER_SIDE // _STEP - 1, 1])  # as large as the others
    down, across = grey[:, _STEP:] - grey[:, :-_STEP], turned[:, _STEP:] - turned[:, :-_STEP]
    (medians,) = quantiles(tf.concat([grey[:, :-_STEP], border, down, across], 0), 0.5)
    inner, outer, slope_down, slope_across = tf.split(medians, 4)
    # Most of a picture, or of its border, is paper. Take the lighter, since a frame or table around the paper is dark,
    # and so is a thick digit that fills the picture.
    paper = tf.maximum(inner, outer)
    margin = 20  # wider than a thick stroke
    padded = tf.pad(grey - paper, [[0, 0], [margin, margin], [margin, margin]])
    padded = tf.expand_dims(padded, 3)
    around = tf.nn.avg_pool2d(padded, margin, margin, "VALID")
    difference = padded - tf.image.resize(around, [PAPER_SIDE + 2 * margin] * 2)  # from the mean of the surroundings
    is_dark = tf.cast(tf.reduce_sum(difference**3, [1, 2, 3], keepdims=True) < 0, tf.float32)
    position = tf.range(PAPER_SIDE, dtype=tf.float32) / _STEP
    plane = slope_down * position[:, tf.newaxis] + slope_across * position
    return is_dark, tf.expand_dims(plane, 3) * (1.0 - 2.0 * is_dark)


def quantiles(values: tf.Tensor, *ranks: float) -> list[tf.Tensor]:
    """Returns quantiles of each of `[n, h, w]` values from -0.5 to 1.5, to 1/256: one `[n, 1, 1]` per rank.

    Larger ones are ignored.
    """
    bins = tf.cast(tf.clip_by_value((values + 0.5) * (_BINS / 2), 0.0, float(_BINS)), tf.int32)
    shape: Any = values.shape
    bins = tf.reshape(bins, [-1, shape[1] * shape[2]])
    none = tf.constant([], tf.float32)
    counts = tf.raw_ops.DenseBincount(input=bins, size=_BINS, weights=none, binary_output=False)
    reached = tf.cumsum(counts, axis=1)
    below = tf.raw_ops.UpperBound(sorted_inputs=reached, values=reached[:, -1:] * tf.constant([ranks]))
    found = (tf.cast(below, tf.float32) + 0.5) * (2 / _BINS) - 0.5
    return tf.split(tf.expand_dims(found, 1), len(ranks), 2)


def largest(values: tf.Tensor, rows: int, columns: int) -> tf.Tensor:
    """Returns the largest value in a window around each pixel, float32 `[n, h, w, c]`."""
    if max(rows, columns) <= 3:
        return tf.nn.max_pool2d(values, [rows, columns], 1, "SAME")
    for window in (rows, columns):
        # Pool along the first axis with the rest as channels, many times as fast; then transpose for the second.
        shape: Any = values.shape
        height, width, depth = shape[1:]
        if window > 1:
            flat = tf.reshape(values, [-1, height, 1, width * depth])
            values = tf.reshape(tf.nn.max_pool2d(flat, [window, 1], 1, "SAME"), [-1, height, width, depth])
        values = tf.transpose(values, [0, 2, 1, 3])
    return values


def opening(values: tf.Tensor, rows: int, columns: int) -> tf.Tensor:
    """Returns values, float32 `[n, h, w, c]`, without light details smaller than the window."""
    return largest(-largest(-values, rows, columns), rows, columns)
