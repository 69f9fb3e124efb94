"""Finding digits in graph: connected pieces of ink, which belong to one digit, and which to none."""

import tensorflow as tf

from tfmnist.photos.ink import graph_function, largest

MASK_SIDE = 192  # maximum longer side of the mask in which pieces are found
SURE, FAINT = 0.3, 0.2  # ink that certainly is, and that of printed lines may be
MOST_PIECES = 40
_LINE = 0.65  # of a side: what is straight for longer may be a printed line
_THIN = 9  # pixels: thicker strokes are no printed lines
_GAP = 7  # pixels: the gap of a stroke that a line cuts


def find_digits(ink: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """Returns the digits that ink forms, by what `find_ink` returned: int32 `[h, w]`.

    A pixel in or next to a digit has the digit's number, 1, 2, ... from left to right; one in or next to ink that
    belongs to none has -1, all others 0.
    """
    size = tf.shape(ink)
    # by the maximum, so that hairlines are not lost
    factor = -(-tf.reduce_max(size) // MASK_SIDE)
    window = tf.stack([1, factor, factor, 1])
    ink = tf.raw_ops.MaxPoolV2(input=ink[tf.newaxis, :, :, tf.newaxis], ksize=window, strides=window, padding="SAME")
    ink = tf.ensure_shape(ink, [1, None, None, 1])
    sure = tf.cast(ink > tf.maximum(noise, SURE), tf.float32)
    written, lines = (tf.squeeze(part, [0, 3]) for part in remove_lines(ink, sure, noise))
    digits = group_pieces(*label_pieces(written), tf.shape(written))
    dropped = tf.where(digits > 0, 0.0, tf.maximum(sure[0, :, :, 0], lines))
    around = largest(tf.stack([dropped, digits], -1)[tf.newaxis], 3, 3)
    dropped, near = tf.unstack(around[0], 2, axis=-1)
    digits = tf.where(digits > 0, digits, tf.where(dropped > 0, -1.0, near))
    digits = tf.repeat(tf.repeat(tf.cast(digits, tf.int32), factor, axis=0), factor, axis=1)
    return tf.slice(digits, [0, 0], size)


def remove_lines(ink: tf.Tensor, sure: tf.Tensor, noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Removes printed lines that cross a picture from its sure ink; returns both, float32 `[1, h, w, 1]`, 0 or 1.

    Lines are straight and thin, along an axis give or take two degrees, and go from border to border: several of them,
    or one if what is left does not fill the picture, as the rest of a tightly cropped 4 would. Strokes that cross a
    line stay.
    """
    faint = tf.cast(ink > tf.maximum(noise, FAINT), tf.float32)
    turned = tf.transpose(faint, [0, 2, 1, 3])
    (across, rulings), (down, margins) = _straight(faint), _straight(turned)
    rest = sure * (1.0 - tf.maximum(across, tf.transpose(down, [0, 2, 1, 3])))
    height, width = _extent(rest, 2), _extent(rest, 1)
    drop_across = (rulings > 1) | ((rulings > 0) & (height < 0.8) & (height > 0.1))
    drop_down = (margins > 1) | ((margins > 0) & (width < 0.8))
    drop_down &= drop_across | (width > 0.1)
    across = tf.where(drop_across, across, 0.0)
    down = tf.transpose(tf.where(drop_down, down, 0.0), [0, 2, 1, 3])
    lines = tf.maximum(across, down)
    # ink that is darker than the lines is a stroke
    level = tf.math.divide_no_nan(tf.reduce_sum(ink * lines), tf.reduce_sum(lines))
    rest = sure * (1.0 - lines * tf.cast(ink < level + 0.2, tf.float32))
    # a stroke that a line has cut is closed
    return tf.maximum(rest, lines * -largest(-largest(rest, _GAP, _GAP), _GAP, _GAP)), lines


@graph_function(tf.TensorSpec([1, None, None, 1]))
def _straight(ink: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the long, straight, thin lines from left to right, float32 `[1, h, w, 1]`; and their number, float32."""
    width = tf.shape(ink)[2]
    length = tf.cast(_LINE * tf.cast(width, tf.float32), tf.int32) + 1
    straight = ink * largest(-largest(-largest(ink, 3, 1), 1, length), 1, length)
    at_left = tf.reduce_max(straight[:, :, :3], 2, keepdims=True)
    at_right = tf.reduce_max(straight[:, :, -3:], 2, keepdims=True)
    straight *= largest(at_left, 13, 1) * largest(at_right, 13, 1)
    thick = largest(-largest(-ink, _THIN, 1), _THIN, 1)
    starts = [tf.nn.relu(end - tf.pad(end, [[0, 0], [1, 0], [0, 0], [0, 0]])[:, :-1]) for end in (at_left, at_right)]
    return straight * (1.0 - thick), tf.reduce_min(tf.reduce_sum(starts, [1, 2, 3, 4]))


@graph_function(tf.TensorSpec([1, None, None, 1]), tf.TensorSpec([], tf.int32))
def _extent(ink: tf.Tensor, axis: tf.Tensor) -> tf.Tensor:
    """Returns the fraction of the rows (axis 2) or columns (axis 1) from the first to the last that has ink."""
    inked = tf.reshape(tf.reduce_max(ink, axis), [-1])
    places = tf.cast(tf.where(inked > 0), tf.float32)
    length = tf.reduce_max(places) - tf.reduce_min(places)
    return length / tf.cast(tf.size(inked), tf.float32)


def label_pieces(ink: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the connected pieces of ink, float32 `[h, w]`, 0 or 1; diagonal neighbours connect.

    Every pixel points to itself at first, then with all that point to the same pixel to the first one that a neighbour
    points to, until nothing changes (Zhang, Azad, Hu, "FastSV", 2020): a number of steps that is logarithmic.

    Returns:
        int64 `[n, 2]`, the pixels of ink; and int32 `[n]`, the index of the first pixel of each one's piece.
    """
    pixels = tf.where(ink > 0)
    count = tf.shape(pixels)[0]
    flat = tf.reshape(tf.pad(ink, [[1, 1], [1, 1]]), [-1])
    index = tf.where(flat > 0, tf.cast(tf.cumsum(flat), tf.int32) - 1, count)
    width = tf.shape(ink)[1] + 2
    around = tf.reshape(width * [[-1], [0], [1]] + [[-1, 0, 1]], [-1])
    places = tf.where(flat > 0) + tf.cast(around, tf.int64)
    neighbours = tf.gather(index, places)  # [n, 9]; `count` where there is none

    def step(changed: tf.Tensor, first: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        least = tf.concat([tf.reduce_min(tf.gather(first, neighbours), axis=1), [count]], axis=0)
        new = tf.minimum(tf.tensor_scatter_nd_min(first, first[:, tf.newaxis], least), least)
        new = tf.gather(new, new)
        return tf.reduce_any(tf.not_equal(new, first)), new

    _, first = tf.while_loop(lambda changed, _: changed, step, (count > 0, tf.range(count + 1)))
    return pixels, first[:-1]


def group_pieces(pixels: tf.Tensor, pieces: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Groups the pieces that `label_pieces` returns into digits, and drops those that belong to none.

    Dropped are specks; what lies along the border or is cut by it, if something substantial is not; boxes and rings
    round something; and lines under something. Pieces above each other are one digit; small ones join a digit close to
    them.

    Returns:
        float32 `[h, w]`: 0 outside, otherwise the digit, 1, 2, ... from left to right.
    """
    limits = tf.cast(shape, tf.float32)
    side = tf.reduce_max(limits)
    # only the largest, since one among thousands of specks is no digit
    areas, chosen = tf.math.top_k(tf.math.bincount(pieces, minlength=MOST_PIECES), MOST_PIECES)
    same_piece = tf.cast(tf.equal(pieces[:, tf.newaxis], chosen), tf.int32)
    ids = tf.argmax(tf.pad(same_piece, [[0, 0], [0, 1]], constant_values=1), axis=1, output_type=tf.int32)
    y_x = tf.cast(pixels, tf.float32)
    corners = tf.concat([-y_x, y_x + 1.0], axis=1)
    at_edge = tf.cast(tf.equal(corners, tf.pad(limits, [[2, 0]])), tf.float32)
    boxes = tf.math.unsorted_segment_max(corners, ids, MOST_PIECES + 1)[:-1]  # -top, -left, bottom, right
    edges = tf.reduce_sum(tf.math.unsorted_segment_sum(at_edge, ids, MOST_PIECES + 1)[:-1], 1)
    sizes = boxes[:, 2:] + boxes[:, :2]  # heights and widths, negative where there is no piece
    longer = tf.reduce_max(sizes, 1)
    touching = edges > 0
    big = longer >= 0.04 * side
    free = tf.reduce_max(tf.where(big & tf.logical_not(touching), longer, 0.0))  # the largest off the border
    across = tf.reduce_any(sizes >= limits, 1) & (tf.reduce_min(sizes, 1) < 0.2 * side)
    at_border = touching & ((edges > 0.5 * longer) | across | (longer < 0.5 * free))
    tall, wide = tf.unstack(sizes, axis=1)
    ruling = (wide >= limits[1]) & (tall < 0.05 * side)
    alive = big & tf.logical_not(ruling | (free > 0.1 * side) & at_border)

    one, other = boxes[:, tf.newaxis], boxes[tf.newaxis]  # [n, 1, 4] and [1, n, 4]
    lower = tf.minimum(one, other)
    shared = lower[:, :, 2:] + lower[:, :, :2]  # [n, n, 2]: how far two pieces overlap downwards and sideways
    overlap = shared / tf.minimum(sizes[:, tf.newaxis], sizes)
    # a box or ring round something, and empty boxes of the same size
    hollow = tf.cast(areas, tf.float32) < 0.4 * tall * wide
    within = tf.where(alive, longer, 0.0)[:, tf.newaxis] > 0.25 * tf.minimum(tall, wide)
    frame = tf.reduce_any(within & tf.reduce_all(one < other, -1), 0) & hollow
    alike = tf.reduce_all(tf.abs(sizes[:, tf.newaxis] - sizes) < 0.1 * sizes, -1)
    frame |= tf.reduce_any(alike & frame, 1) & hollow
    alive &= tf.logical_not(frame)
    # a line under something
    below = (boxes[:, 2] + 0.03 * tall < -one[:, :, 0]) & (shared[:, :, 1] > 0)
    under = below & alive & (wide[:, tf.newaxis] > 0.35 * tall) & (tall > 0.25 * wide[:, tf.newaxis])
    line = tf.reduce_any(under, 1) & (tall < 0.3 * wide)
    alive &= tf.logical_not(line)
    most = tf.reduce_max(tf.where(alive, longer, 0.0))
    substantial = alive & (longer >= 0.35 * most)

    # pieces that overlap sideways are one digit; two tall ones beside each other only if they overlap by half
    beside, above = tf.unstack(overlap, axis=-1)
    alike = tf.minimum(tall[:, tf.newaxis], tall) > 0.6 * tf.maximum(tall[:, tf.newaxis], tall)
    same = (above >= tf.where((beside > 0.6) & alike, 0.5, 0.25)) & substantial[:, tf.newaxis] & substantial
    same = tf.cast(same, tf.float32)
    same = tf.linalg.matmul(same, tf.linalg.matmul(same, tf.linalg.matmul(same, same))) > 0  # chains of up to 4
    # a digit is known by its leftmost piece, and its number is that piece's rank
    starts = tf.where(same, -boxes[:, 1], 1e6)
    first = tf.argmin(starts, axis=1, output_type=tf.int32)
    keys = tf.reduce_min(starts, axis=1) + 1e-3 * tf.cast(first, tf.float32)  # so that no two are equal
    leads = tf.cast(substantial & tf.equal(first, tf.range(MOST_PIECES)), tf.float32)
    digit = tf.linalg.matvec(tf.cast(keys <= keys[:, tf.newaxis], tf.float32), leads)
    digit = tf.where(substantial, digit, 0.0)

    # small pieces, such as those of a broken stroke, join a digit near them
    gap = tf.where(substantial, -tf.reduce_min(shared, -1), 1e6)
    small = tf.logical_not(substantial | touching | frame | line) & (longer >= 0.08 * most)
    joins = small & (tf.reduce_min(gap, axis=1) <= 0.12 * most)
    digit = tf.where(joins, tf.gather(digit, tf.argmin(gap, axis=1)), digit)
    return tf.scatter_nd(pixels, tf.gather(tf.pad(digit, [[0, 1]]), ids), tf.cast(shape, tf.int64))
