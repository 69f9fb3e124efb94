"""Finding ink in graph: what is drawn on a picture, dark or light, of any colour, on paper that may be shaded.

`colours` is float32 `[h, w, 3]` in [0, 1]; `difference` is float32, positive for ink.
"""

import tensorflow as tf

from tfmnist.photos.decode import resize

PAPER_SIDE = 96  # longer side of the picture in which the paper is estimated
PAPER_WINDOWS = (17, 37)  # in its pixels: all strokes are narrower than the second, most than the first
FIT_SIDE = 48  # longer side of the picture to which the paper's brightness is fitted
MASK_SIDE = 128  # maximum longer side of the mask in which components are labelled
SHRINKAGE = [1e-5] + [1e-3] * 5  # of the surface's terms: flat unless the picture contradicts
MIN_CONTRAST = 0.07  # between ink and paper


def quantiles(values: tf.Tensor, fractions: list[float]) -> tf.Tensor:
    """Returns the values below which the given fractions of all values lie, float32 `[len(fractions)]`."""
    flat = tf.sort(tf.reshape(values, [-1]))
    indices = tf.cast(tf.size(flat) - 1, tf.float32) * tf.constant(fractions)
    return tf.gather(flat, tf.cast(tf.round(indices), tf.int32))


def find_ink(colours: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the ink of a picture: dark or light, of any colour, on paper that may be grey, coloured and shaded.

    The paper is a smooth surface through most of the picture (`fit_paper`), plus what differs from it but is wider than
    any stroke (`level`). Ink is what differs from the paper by more than noise, its strokes scaled to 1.

    Returns:
        float32 `[h, w]` in [0, 1], 1 for ink, edges in between; and bool `[h, w]`, what certainly is more than noise.
        Both are zero if there is no ink.
    """
    paper = fit_paper(colours)
    dark = is_ink_dark(colours)
    # reflectance if ink is darker than paper: a shadow dims both alike
    room = tf.where(dark, paper, 1.0 - paper)
    room = tf.maximum(tf.reduce_max(room, axis=-1, keepdims=True), 0.25)
    difference = tf.reduce_max(level(tf.where(dark, paper - colours, colours - paper) / room), axis=-1)
    difference, spread = measure_noise(difference)
    # in deep shade, dividing has amplified camera noise
    undivided, noise = measure_noise(difference * room[:, :, 0])
    more_than_noise = (difference > tf.maximum(MIN_CONTRAST, 3.5 * spread)) & (undivided > 3.5 * noise)
    contrast = _upper(difference, more_than_noise)
    has_ink = contrast > tf.maximum(MIN_CONTRAST, 4.5 * spread)
    start = tf.maximum(0.25 * contrast, 2.0 * spread)
    stop = tf.maximum(0.75 * contrast, start + 0.01)
    ink = tf.clip_by_value((difference - start) / (stop - start), 0.0, 1.0)
    return tf.where(has_ink, ink, 0.0), has_ink & more_than_noise & (difference > 0.4 * contrast)


def measure_noise(difference: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Measures the noise of the paper in a picture, `[h, w]`, of which up to 40 % may be ink.

    Returns:
        The differences minus the median of those of paper, float32 `[h, w]`; and their spread, a float32 scalar: from
        the 5 % to the 30 % quantile, which is 1.1 standard deviations without ink, and 1.4 with 40 % ink.
    """
    step = tf.maximum(tf.reduce_max(tf.shape(difference)) // MASK_SIDE, 1)
    low, middle = tf.unstack(quantiles(difference[::step, ::step], [0.05, 0.3]))
    return difference - middle - 0.3 * (middle - low), middle - low


def _upper(values: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """Returns the 93 % quantile of the chosen values, to 1/128; 0 if there are none."""
    bins = 256
    binned = tf.cast(tf.clip_by_value(values, 0.0, 1.99) * (bins / 2), tf.int32)
    counts = tf.math.bincount(binned, weights=tf.cast(chosen, tf.int32), minlength=bins, maxlength=bins)
    reached = tf.cumsum(counts)
    rank = tf.cast(0.93 * tf.cast(reached[-1], tf.float32), tf.int32)
    index = tf.reduce_sum(tf.cast(reached < rank, tf.float32))
    return tf.where(reached[-1] > 0, index * (2 / bins), 0.0)


def fit_paper(colours: tf.Tensor) -> tf.Tensor:
    """Fits a quadratic surface, float32 `[h, w, 3]` in [0, 1], to the paper: most of the picture or of its border.

    Iteratively reweighted least squares: first by 1 / residual, which minimises the sum of absolute residuals, then
    by Welsch's weights exp(-r² / 2 s²) with decreasing s, which ignore ink (P. W. Holland, R. E. Welsch, "Robust
    Regression Using Iteratively Reweighted Least-Squares", Comm. Stat. A6, 1977). A pixel has one weight for all its
    colours.
    """
    size = tf.shape(colours)[:2]
    scale = FIT_SIDE / tf.reduce_max(size)
    small_size = tf.maximum(tf.cast(tf.round(tf.cast(size, tf.float64) * scale), tf.int32), 4)
    small = tf.reshape(resize(colours, small_size, "bilinear", antialias=True), [-1, 3])
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
    return tf.clip_by_value(tf.tensordot(_terms(size), _solve(terms, small, weights), 1), 0.0, 1.0)


def _terms(size: tf.Tensor) -> tf.Tensor:
    """1, y, x, y², xy, x² over a picture, in [-1, 1]: float32 `[h, w, 6]`."""
    y, x = tf.meshgrid(tf.linspace(-1.0, 1.0, size[0]), tf.linspace(-1.0, 1.0, size[1]), indexing="ij")
    return tf.stack([tf.ones_like(x), y, x, y * y, x * y, x * x], axis=-1)


def _solve(terms: tf.Tensor, values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    weighted = terms * (weights / tf.reduce_sum(weights))[:, tf.newaxis]
    normal = tf.matmul(weighted, terms, transpose_a=True) + tf.linalg.diag(tf.constant(SHRINKAGE))
    return tf.linalg.solve(normal, tf.matmul(weighted, values, transpose_a=True))


def is_ink_dark(colours: tf.Tensor) -> tf.Tensor:
    """Returns whether ink is darker than paper, a bool scalar: what is narrow and darker outweighs what is lighter.

    Darker and lighter than the local paper, which is the median over half of the picture's side.
    """
    small = to_paper_size(colours)
    paper = local_median(small)

    def energy(difference: tf.Tensor) -> tf.Tensor:
        # above 0 only, since the paper inside a 0 is narrow and lighter than its stroke
        above = tf.nn.relu(tf.reduce_max(difference, axis=-1, keepdims=True))
        return tf.reduce_sum(tf.nn.relu(above - _opening(above, PAPER_WINDOWS[1]) - 0.04))

    return energy(paper - small) >= energy(small - paper)


def local_median(picture: tf.Tensor) -> tf.Tensor:
    """Returns the median around each pixel, over about half of the longer side, per channel; `[h, w, c]`.

    It follows the edge of a shadow, but ignores ink.
    """
    around = 6
    size = tf.shape(picture)
    coarse = resize(picture, tf.maximum(size[:2] // 4, 2), "bilinear", antialias=True)
    # mirrored pixel by pixel, since a mirrored border cannot exceed the picture
    for _ in range(around):
        coarse = tf.pad(coarse, [[1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    window = 2 * around + 1
    ones = [1, 1, 1, 1]
    patches = tf.image.extract_patches(coarse[tf.newaxis], [1, window, window, 1], ones, ones, "VALID")[0]
    shape = tf.shape(patches)
    values = tf.reshape(patches, [shape[0], shape[1], window * window, size[2]])
    median = tf.sort(values, axis=2)[:, :, window * window // 2]
    return resize(median, size[:2], "bilinear")


def level(difference: tf.Tensor) -> tf.Tensor:
    """Removes what is wider than any stroke, such as shadows: a white top-hat of each channel of `[h, w, c]`.

    Its window is the narrow one if that leaves at least half of the outlines that the wide one leaves: then strokes do
    not fill it, and what is between the windows is the edge of a shadow. Noise is around 0 in the result.
    """
    small = tf.nn.avg_pool2d(to_paper_size(difference)[tf.newaxis], 3, 1, "SAME")[0]
    narrow, wide = (tf.nn.max_pool2d(_opening(small, window)[tf.newaxis], 3, 1, "SAME") for window in PAPER_WINDOWS)

    def outline(under: tf.Tensor) -> tf.Tensor:
        ink = tf.reduce_max(small - under[0], axis=-1)
        ink = tf.clip_by_value(ink / tf.maximum(tf.reduce_max(ink), MIN_CONTRAST) * 3.0 - 1.0, 0.0, 1.0)
        return tf.reduce_sum(gradient(ink))

    under = tf.where(outline(narrow) >= 0.5 * outline(wide), narrow, wide)
    under = tf.nn.avg_pool2d(under, 5, 1, "SAME")[0]
    return difference - resize(under, tf.shape(difference)[:2], "bilinear")


def to_paper_size(picture: tf.Tensor) -> tf.Tensor:
    size = tf.cast(tf.shape(picture)[:2], tf.float32)
    size = tf.cast(tf.round(size * (PAPER_SIDE / tf.reduce_max(size))), tf.int32)
    return resize(picture, tf.maximum(size, 2), "bilinear", antialias=True)


def _opening(picture: tf.Tensor, window: int) -> tf.Tensor:
    """The minimum, then the maximum over windows: removes what is narrower than the window and lighter; `[h, w, c]`."""

    def largest(values: tf.Tensor) -> tf.Tensor:
        return tf.nn.max_pool2d(tf.nn.max_pool2d(values, [window, 1], 1, "SAME"), [1, window], 1, "SAME")

    return largest(-largest(-picture[tf.newaxis]))[0]


def gradient(values: tf.Tensor) -> tf.Tensor:
    """Returns |gradient| by central differences, float32 `[h, w]`, as if surrounded by 0."""
    padded = tf.pad(values, [[1, 1], [1, 1]])
    down = (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2
    across = (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2
    return tf.sqrt(down * down + across * across)
