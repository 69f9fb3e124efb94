"""Finding digits in graph: connected components of the ink, which belong to one digit, and which to none.

`colours` is float32 `[h, w, 3]` in [0, 1].
"""

import tensorflow as tf

from tfmnist.photos.decode import resize, to_batch, to_plane
from tfmnist.photos.ink import MASK_SIDE, MIN_CONTRAST, find_ink, quantiles, to_paper_size

MIN_SIDE = 112  # smaller pictures are enlarged
MAX_COMPONENTS = 48


def cut_edges(colours: tf.Tensor) -> tf.Tensor:
    """Crops what lies around the paper: whole rows and columns at the border that are far darker than the middle.

    Up to a third of the picture is cropped on each side, and only if the edge is sharp and something is on the paper.
    """
    small = tf.reduce_mean(to_paper_size(colours), axis=-1)
    size = tf.shape(small)

    def middle(start: tf.Tensor, stop: tf.Tensor, left_out: int) -> tf.Tensor:
        margin = (stop - start) // left_out
        return small[start[0] + margin[0] : stop[0] - margin[0], start[1] + margin[1] : stop[1] - margin[1]]

    paper = quantiles(middle(tf.zeros([2], tf.int32), size, 4), [0.5])[0]
    dark = tf.cast(small < paper - 0.35, tf.float32)

    def edge(axis: int, backwards: bool) -> tf.Tensor:
        """Returns the number of dark rows or columns at one border, plus one for the edge itself."""
        dark_fraction, light = tf.reduce_mean(dark, axis=1 - axis), tf.reduce_mean(small, axis=1 - axis)
        if backwards:
            dark_fraction, light = dark_fraction[::-1], light[::-1]
        run = tf.reduce_sum(tf.math.cumprod(tf.cast(dark_fraction > 0.97, tf.int32)))
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
    """Adds paper, half of the longer side in all, to a picture cropped so tightly that paper may be its smaller part.

    That is assumed if the border has one colour, and more than a sixth of the picture another.
    """
    border = tf.concat([colours[0], colours[-1], colours[:, 0], colours[:, -1]], axis=0)
    middle = tf.sort(border, axis=0)[tf.shape(border)[0] // 2]
    step = tf.maximum(tf.reduce_max(tf.shape(colours)) // MASK_SIDE, 1)
    difference = tf.reduce_max(tf.abs(colours[::step, ::step] - middle), axis=-1)
    most = tf.reduce_max(difference)
    uneven = quantiles(tf.reduce_max(tf.abs(border - middle), axis=-1), [0.95])[0]
    other = tf.reduce_mean(tf.cast(difference > 0.5 * most, tf.float32))
    tight = (other > 1 / 6) & (most > MIN_CONTRAST) & (uneven < 0.2 * most)
    margin = tf.where(tight, tf.reduce_max(tf.shape(colours)) // 4, 0)
    return tf.pad(colours - middle, tf.stack([[margin, margin], [margin, margin], [0, 0]])) + middle


def find_digits(colours: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the ink, float32 `[h', w']` in [0, 1], 1 for ink, and the digits it forms, int32 `[h', w']`.

    Every pixel in or close to a digit has the digit's number, 1, 2, ... from left to right; all others have 0.
    """
    size = tf.shape(colours)[:2]
    longer = tf.reduce_max(size)
    enlarged = tf.cast(tf.math.ceil(MIN_SIDE / longer), tf.int32)
    colours = tf.cond(enlarged > 1, lambda: resize(colours, size * enlarged, "bilinear"), lambda: colours)
    ink, sure = find_ink(add_margin(cut_edges(colours)))
    size = tf.shape(ink)
    # by the maximum, so that hairlines are not lost
    factor = -(-tf.reduce_max(size) // MASK_SIDE)
    window = tf.stack([1, factor, factor, 1])
    sure = to_batch(tf.cast(sure, tf.float32))
    mask = to_plane(tf.raw_ops.MaxPoolV2(input=sure, ksize=window, strides=window, padding="SAME"))
    groups = group_components(label_components(mask))
    dropped = (mask > 0) & (groups == 0)
    around = to_plane(tf.nn.max_pool2d(to_batch(tf.cast(groups, tf.float32)), 3, 1, "SAME"))
    groups = tf.where(dropped, 0, tf.where(groups > 0, groups, tf.cast(around, tf.int32)))
    return ink, tf.repeat(tf.repeat(groups, factor, axis=0), factor, axis=1)[: size[0], : size[1]]


def label_components(mask: tf.Tensor) -> tf.Tensor:
    """Numbers the connected components of a mask, float32 `[h, w]`, 0 or 1; diagonal neighbours connect.

    Every pixel starts with its own number, and takes the largest of its neighbours until nothing changes.

    Returns:
        int32 `[h, w]`: -1 outside, otherwise the component, 0, 1, ...
    """
    shape = tf.shape(mask)
    numbers = tf.cast(tf.reshape(tf.range(1, tf.size(mask) + 1), shape), tf.float32)
    mask = to_batch(mask)
    start = mask * to_batch(numbers)

    def step(changed: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        spread = labels
        for _ in range(4):
            spread = tf.nn.max_pool2d(spread, 3, 1, "SAME") * mask
        return tf.reduce_any(tf.not_equal(spread, labels)), spread

    _, labels = tf.while_loop(lambda changed, _: changed, step, (tf.constant(True), start))
    flat = tf.reshape(labels, [-1])
    inside = flat > 0
    _, index = tf.unique(tf.boolean_mask(flat, inside))
    components = tf.tensor_scatter_nd_update(tf.fill(tf.shape(flat), -1), tf.where(inside), index)
    return tf.ensure_shape(tf.reshape(components, shape), [None, None])


def group_components(labels: tf.Tensor) -> tf.Tensor:
    """Groups the components that `label_components` returns into digits, and drops those that belong to none.

    Dropped are specks, lines from side to side, and what lies along the border or is cut by it if something
    substantial is off the border. Components whose horizontal extents overlap by at least a quarter of the narrower
    are one digit; small ones join a digit close to them.

    Returns:
        int32 `[h, w]`: 0 outside, otherwise the digit, 1, 2, ... from left to right.
    """
    height, width = tf.unstack(tf.cast(tf.shape(labels), tf.float32))
    pixels = tf.where(labels >= 0)
    ids = tf.gather_nd(labels, pixels)
    count = tf.reduce_max(tf.concat([ids, [-1]], axis=0)) + 1
    areas = tf.math.bincount(ids, minlength=count, maxlength=count)
    # only the largest, since one among thousands of specks is no digit; an empty one if there are none
    areas = tf.concat([areas, [0]], axis=0)
    _, chosen = tf.math.top_k(areas, tf.minimum(count + 1, MAX_COMPONENTS))
    size = tf.size(chosen)
    renumbered = tf.tensor_scatter_nd_update(tf.fill([count + 1], size), chosen[:, tf.newaxis], tf.range(size))
    ids = tf.gather(renumbered, ids)
    y, x = tf.cast(pixels[:, 0], tf.float32), tf.cast(pixels[:, 1], tf.float32)

    def extent(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        least = tf.math.unsorted_segment_min(values, ids, size + 1)[:size]
        return least, tf.math.unsorted_segment_max(values, ids, size + 1)[:size] + 1

    (top, bottom), (left, right) = extent(y), extent(x)
    longer = tf.maximum(bottom - top, right - left)

    def fraction(where: tf.Tensor) -> tf.Tensor:
        """Returns the fraction of each component's longer side that lies along one side of the picture."""
        return tf.math.unsorted_segment_sum(tf.cast(where, tf.float32), ids, size + 1)[:size] / longer

    sides = [fraction(y <= 0), fraction(y >= height - 1), fraction(x <= 0), fraction(x >= width - 1)]
    touching = tf.add_n(sides) > 0
    large = longer >= 0.04 * tf.maximum(height, width)
    # the largest off the border
    free = tf.reduce_max(tf.concat([tf.where(touching | ~large, 0.0, longer), [0.0]], axis=0))
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
    ranks = reach * tf.range(1, size + 1, dtype=tf.float32)[::-1]
    ranks = tf.concat([ranks, tf.zeros([size, 1])], axis=1)  # so that argmax works without components
    first = tf.argmax(ranks, axis=1, output_type=tf.int32)
    leaders = substantial & tf.equal(first, tf.range(size))
    order = tf.argsort(tf.where(leaders, starts, width + 2))
    numbers = tf.tensor_scatter_nd_update(tf.zeros([size], tf.int32), order[:, tf.newaxis], tf.range(1, size + 1))
    digit = tf.where(substantial, tf.gather(numbers, first), 0)

    # pieces of a broken stroke join a digit near them
    gap_x = tf.maximum(left[:, tf.newaxis], left) - tf.minimum(right[:, tf.newaxis], right)
    gap_y = tf.maximum(top[:, tf.newaxis], top) - tf.minimum(bottom[:, tf.newaxis], bottom)
    gap = tf.where(substantial, tf.maximum(gap_x, gap_y), 1e6)  # [piece, component]
    small = tf.logical_not(substantial | touching) & (longer >= 0.08 * largest)
    nearest = tf.argmin(tf.concat([gap, tf.fill([size, 1], 1e6)], axis=1), axis=1, output_type=tf.int32)
    close = small & (tf.reduce_min(gap, axis=1) <= 0.12 * largest)
    digit = tf.where(close, tf.gather(tf.concat([digit, [0]], axis=0), nearest), digit)
    return tf.tensor_scatter_nd_update(
        tf.zeros(tf.shape(labels), tf.int32), pixels, tf.gather(tf.concat([digit, [0]], axis=0), ids)
    )
