"""Finding digits in graph: which connected pieces of ink belong to one digit, and which to none."""

import tensorflow as tf

from tfmnist.photos.ink import SIDE, largest, opening

SCALE = 2  # pixels of the ink per pixel of the mask in which pieces are found
MASK_SIDE = SIDE // SCALE
SURE, FAINT = 0.3, 0.2  # minimum level of certain ink, and of printed lines
MOST_PIECES = 40
_LINE = 0.65  # of a side: a longer straight stroke may be a printed line
_THIN = 9  # pixels of the mask: thicker strokes are not printed lines
_GAP = 7  # pixels: the gap in a stroke cut by a line


def find_digits(ink: tf.Tensor, noise: tf.Tensor, units: tf.Tensor) -> tf.Tensor:
    """Returns the digits formed by the ink from `find_ink`: int32 `[n, MASK_SIDE, MASK_SIDE]`.

    A pixel in or next to a digit has the digit's number, 1, 2, ... from left to right; one in or next to ink that
    belongs to none has -1, all others 0. `units`, float32 `[n, 2]`, are the pictures' heights and widths before they
    were stretched, as fractions of the longer.
    """
    # max pooling keeps hairlines
    ink = tf.squeeze(tf.nn.max_pool2d(tf.expand_dims(ink, -1), SCALE, SCALE, "VALID"), -1)
    sure = tf.cast(ink > tf.maximum(noise, SURE), tf.float32)
    written, lines = remove_lines(ink, sure, noise)
    digits = group_pieces(*label_pieces(written), units)
    other = tf.where(digits > 0, 0.0, tf.maximum(sure, lines))
    other, near = tf.unstack(largest(tf.stack([other, digits], -1), 3, 3), axis=-1)
    return tf.cast(tf.where(digits > 0, digits, tf.where(other > 0, -1.0, near)), tf.int32)


def remove_lines(ink: tf.Tensor, sure: tf.Tensor, noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Removes printed lines that cross a picture from its sure ink; returns both, float32 `[n, h, w]`, 0 or 1.

    Lines are straight and thin, within two degrees of an axis, and run from border to border: several of them,
    or one if what is left does not fill the picture, as the rest of a tightly cropped 4 would. Strokes that cross a
    line stay.
    """
    faint = tf.cast(ink > tf.maximum(noise, FAINT), tf.float32)
    # horizontal lines, and vertical ones as horizontal lines of the transposed picture
    lines, number = find_straight(tf.stack([faint, tf.transpose(faint, [0, 2, 1])], 1))
    across, down = tf.unstack(lines, axis=1)
    rest = sure * (1.0 - tf.maximum(across, tf.transpose(down, [0, 2, 1])))
    extent = _extents(rest)
    drop = (number > 1) | ((number > 0) & (extent < [0.8, 0.8]) & (extent > [0.1, -1.0]))
    drop &= (extent > 0.1) | tf.reverse(drop, [1]) | [True, False]
    across, down = tf.unstack(lines * tf.cast(drop, tf.float32)[..., tf.newaxis, tf.newaxis], axis=1)
    lines = tf.maximum(across, tf.transpose(down, [0, 2, 1]))
    # ink that is darker than the lines is a stroke
    level = tf.math.divide_no_nan(tf.reduce_sum(ink * lines, [1, 2], True), tf.reduce_sum(lines, [1, 2], True))
    rest = sure * (1.0 - lines * tf.cast(ink < level + 0.2, tf.float32))
    # a stroke that a line has cut is closed
    closed = -opening(tf.expand_dims(-rest, -1), _GAP, _GAP)
    return tf.maximum(rest, lines * tf.squeeze(closed, -1)), lines


def find_straight(ink: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the long, straight, thin lines from left to right in ink, float32 `[n, 2, h, w]`, 0 or 1.

    Returns:
        The lines, of the same shape; and their number, float32 `[n, 2]`.
    """
    height, width = ink.shape[2:]
    flat = tf.reshape(ink, [-1, height, 1, width])  # columns as channels: many times as fast
    thick = opening(flat, _THIN, 1)
    filled = tf.reduce_mean(largest(flat, 3, 1), 3, keepdims=True) > _LINE
    flat *= tf.cast(filled, tf.float32)
    ends = [tf.reduce_max(part, 3) for part in (flat[:, :, :, :3], flat[:, :, :, -3:])]
    ends = tf.stack(ends, 3)
    reached = tf.reduce_min(largest(ends, 13, 1), 3, keepdims=True)
    starts = tf.nn.relu(ends - tf.roll(ends, 1, 1))
    number = tf.reduce_min(tf.reduce_sum(starts, [1, 2]), -1)
    lines = flat * reached * (1.0 - thick)
    return tf.reshape(lines, [-1, 2, height, width]), tf.reshape(number, [-1, 2])


def _extents(ink: tf.Tensor) -> tf.Tensor:
    """Returns the fractions of the rows and of the columns from the first to the last with ink: float32 `[n, 2]`."""
    inked = tf.stack([tf.reduce_max(ink, 2), tf.reduce_max(ink, 1)], 1)
    position = tf.range(1.0, MASK_SIDE + 1.0)
    last = tf.reduce_max(inked * position, 2)
    first = MASK_SIDE - tf.reduce_max(inked * (MASK_SIDE - position), 2)
    return (last - first) / MASK_SIDE


def label_pieces(ink: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the connected pieces of ink, float32 `[n, h, w]`, 0 or 1; diagonal neighbours connect.

    Every pixel first points to itself. Then all that share a target move to the lowest target of any neighbour, until
    nothing changes (Zhang, Azad, Hu, "FastSV", 2020). The number of steps is logarithmic.

    Returns:
        int64 `[p, 3]`, the pixels of ink: picture, row and column; and int32 `[p]`, the index of the first pixel in
        the piece of each.
    """
    is_ink = tf.pad(ink > 0, [[0, 0], [1, 1], [1, 1]])
    width = MASK_SIDE + 2
    flat = tf.where(tf.reshape(is_ink, [-1]))
    count = tf.size(flat)
    numbers = tf.fill([tf.size(is_ink)], count)  # `count` means none
    numbers = tf.tensor_scatter_nd_update(numbers, flat, tf.range(count))
    around = [y * width + x for y in (-1, 0, 1) for x in (-1, 0, 1)]
    neighbours = tf.gather(numbers, flat + tf.constant(around, tf.int64))  # [p, 9]

    def step(changed: tf.Tensor, first: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        least = tf.pad(tf.reduce_min(tf.gather(first, neighbours), axis=1), [[0, 1]], constant_values=2**31 - 1)
        new = tf.minimum(tf.tensor_scatter_nd_min(first, first[:, tf.newaxis], least), least)
        new = tf.gather(new, new)
        return tf.reduce_any(tf.not_equal(new, first)), new

    _, first = tf.while_loop(lambda changed, _: changed, step, (count > 0, tf.range(count + 1)))
    return tf.where(ink > 0), first[:-1]


def group_pieces(pixels: tf.Tensor, pieces: tf.Tensor, units: tf.Tensor) -> tf.Tensor:
    """Groups the pieces that `label_pieces` returns into digits, and drops those that belong to none.

    It drops specks; pieces along the border or cut by it, if a substantial one is not; boxes and rings around
    something; and lines under something. Pieces above each other are one digit; small ones join a digit close to them.
    `units`, float32 `[n, 2]`, are the heights and widths of the pictures.

    Returns:
        float32 `[n, MASK_SIDE, MASK_SIDE]`: 0 outside, otherwise the digit, 1, 2, ... from left to right.
    """
    count, area = tf.shape(units)[0], MASK_SIDE**2
    places = tf.cast(tf.linalg.matvec(pixels, tf.constant([area, MASK_SIDE, 1], tf.int64)), tf.int32)
    roots = tf.gather(places, pieces)  # the index of the first pixel in the piece of each
    # only the largest: one among thousands of specks is not a digit; all others count as one extra piece
    areas = tf.math.unsorted_segment_sum(tf.ones_like(roots), roots, count * area)
    areas, chosen = tf.math.top_k(tf.reshape(areas, [-1, area]), MOST_PIECES)
    chosen = tf.reshape(chosen + area * tf.expand_dims(tf.range(count), 1), [-1, 1])
    others = count * MOST_PIECES
    ids = tf.tensor_scatter_nd_update(tf.fill([count * area], others), chosen, tf.range(others))
    ids = tf.gather(ids, roots)

    y_x = tf.cast(pixels[:, 1:], tf.float32)
    corners = tf.concat([-y_x, y_x + 1.0], axis=1)
    at_edge = tf.reduce_sum(tf.cast(tf.equal(corners, [0.0, 0.0, MASK_SIDE, MASK_SIDE]), tf.float32), 1)
    boxes = tf.reshape(tf.math.unsorted_segment_max(corners, ids, others + 1)[:-1], [-1, MOST_PIECES, 4])
    edges = tf.reshape(tf.math.unsorted_segment_sum(at_edge, ids, others + 1)[:-1], [-1, MOST_PIECES])
    # from here on as fractions of the picture's longer side
    limits = tf.expand_dims(units, 1)
    boxes *= tf.concat([limits, limits], 2) / MASK_SIDE
    edges /= MASK_SIDE
    top, left, bottom, right = tf.unstack(boxes, axis=2)  # the first two negative; all negative where there is no piece
    tall, wide = bottom + top, right + left
    sizes = tf.stack([tall, wide], 2)
    longer = tf.maximum(tall, wide)
    touching = edges > 0
    big = longer >= 0.04
    free = tf.where(big & tf.logical_not(touching), longer, 0.0)
    free = tf.reduce_max(free, 1, keepdims=True)  # the largest not touching the border
    spans = sizes >= 0.999 * limits
    across = tf.reduce_any(spans, 2) & (tf.minimum(tall, wide) < 0.2)
    at_border = touching & ((edges > 0.5 * longer) | across | (longer < 0.5 * free))
    ruling = tf.reduce_any(spans & [False, True], 2) & (tall < 0.05)
    alive = big & tf.logical_not(ruling | (free > 0.1) & at_border)

    def pairs(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the values of one piece and of another: `[n, pieces, 1, ...]` and `[n, 1, pieces, ...]`."""
        return tf.expand_dims(values, 2), tf.expand_dims(values, 1)

    one, other = pairs(boxes)
    ends = tf.unstack(tf.minimum(one, other), axis=3)
    shared_down, shared_across = ends[0] + ends[2], ends[1] + ends[3]  # [n, pieces, pieces]: overlap of each pair
    size, other_size = pairs(sizes)
    height, other_height = pairs(tall)
    width, other_width = pairs(wide)
    # a box or ring around something, and empty boxes of the same size
    hollow = tf.cast(areas, tf.float32) / area * tf.reduce_prod(limits, 2) < 0.4 * tall * wide
    within = tf.expand_dims(tf.where(alive, longer, 0.0), 2) > 0.25 * tf.minimum(other_height, other_width)
    frame = tf.reduce_any(within & tf.reduce_all(one < other, 3), 1) & hollow
    alike = tf.reduce_all(tf.abs(size - other_size) < 0.1 * other_size, 3)
    frame |= tf.reduce_any(alike & tf.expand_dims(frame, 1), 2) & hollow
    alive &= tf.logical_not(frame)
    # a line under something
    below = tf.expand_dims(bottom + 0.03 * tall, 1) < tf.expand_dims(-top, 2)
    below &= (shared_across > 0) & tf.expand_dims(alive, 1)
    under = below & (width > 0.35 * other_height) & (other_height > 0.25 * width)
    line = tf.reduce_any(under, 2) & (tall < 0.3 * wide)
    alive &= tf.logical_not(line)
    most = tf.reduce_max(tf.where(alive, longer, 0.0), 1, keepdims=True)
    substantial = alive & (longer >= 0.35 * most)

    # pieces that overlap sideways are one digit; two tall ones beside each other only if they overlap by half
    beside, above = shared_down / tf.minimum(height, other_height), shared_across / tf.minimum(width, other_width)
    alike = tf.minimum(height, other_height) > 0.6 * tf.maximum(height, other_height)
    same = (above >= tf.where((beside > 0.6) & alike, 0.5, 0.25)) & tf.logical_and(*pairs(substantial))
    same = tf.cast(same, tf.float32)
    same = same @ same
    same = same @ same > 0  # chains of up to 4
    # a digit is identified by its leftmost piece, and numbered by that piece's rank
    starts = tf.where(same, -tf.expand_dims(left, 1), 1e6)
    first = tf.argmin(starts, axis=2, output_type=tf.int32)
    keys = tf.reduce_min(starts, axis=2) + 1e-5 * tf.cast(first, tf.float32)  # makes keys unique
    leads = tf.cast(substantial & tf.equal(first, tf.range(MOST_PIECES)), tf.float32)
    key, other_key = pairs(keys)
    digit = tf.linalg.matvec(tf.cast(other_key <= key, tf.float32), leads)
    digit = tf.where(substantial, digit, 0.0)

    # small pieces, such as those of a broken stroke, join a digit near them
    gap = tf.where(tf.expand_dims(substantial, 1), -tf.minimum(shared_down, shared_across), 1e6)
    small = tf.logical_not(substantial | touching | frame | line) & (longer >= 0.08 * most)
    joins = small & (tf.reduce_min(gap, axis=2) <= 0.12 * most)
    digit = tf.where(joins, tf.gather(digit, tf.argmin(gap, axis=2), batch_dims=1), digit)
    digit = tf.gather(tf.pad(tf.reshape(digit, [-1]), [[0, 1]]), ids)
    digits = tf.scatter_nd(tf.expand_dims(places, 1), digit, tf.reshape(count * area, [1]))
    return tf.reshape(digits, [-1, MASK_SIDE, MASK_SIDE])
