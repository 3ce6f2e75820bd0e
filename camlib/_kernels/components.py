"""The largest component of a mask, and of enlarged maps without making the enlargement.

What runs once per row takes whole arrays and indices: numba counts the references to a view, which takes longer.
"""

import math
from functools import partial

import numpy as np

from camlib._kernels.compiled import compiled


@partial(compiled, fused=True)
def _blend(a, b, fraction):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Linear interpolation, product and sum rounded once, as in OpenCV's resize; nowhere else is that allowed."""
    return a + (b - a) * fraction


@compiled
def _sample_axis(cells, pixels):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """One axis of a bilinear resize with aligned pixel centres: pixel i lies between cells before[i] and before[i] + 1.

    -> before (pixels,), fraction (pixels,) float32, pieces: their first pixels and the end. On a piece, values are
    linear in i.
    """
    before, fraction = np.empty(pixels, np.int64), np.empty(pixels, np.float32)
    pieces, last = [0], -1
    for i in range(pixels):
        place = (i + 0.5) * (cells / pixels) - 0.5
        cell = min(math.floor(place), cells - 1)
        before[i] = max(cell, 0)
        fraction[i] = place - cell if 0 <= cell < cells - 1 else 0  # beyond the outer cells' centres: constant
        if i and cell != last:
            pieces.append(i)
        last = cell
    pieces.append(pixels)
    return before, fraction, np.array(pieces)


@compiled
def _bound_patches(rows, before, fraction, across, down):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Smallest and largest pixel of every patch, up to rounding: they lie at its corners. -> two (bands, pieces)."""
    low = np.full((len(down) - 1, len(across) - 1), np.inf, np.float32)
    high = -low
    for k in range(len(low)):
        for y in (down[k], down[k + 1] - 1):
            a, b = rows[before[y]], rows[min(before[y] + 1, len(rows) - 1)]
            for p in range(len(across) - 1):
                for x in (across[p], across[p + 1] - 1):
                    value = _blend(a[x], b[x], fraction[y])
                    low[k, p], high[k, p] = min(low[k, p], value), max(high[k, p], value)
    return low, high


@compiled
def _find_maximum(rows, before, fraction, across, down, high, noise):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """The largest pixel: only patches with a corner that large are looked into."""
    top = high.max()
    reach = top - 2 * noise
    for k in range(len(high)):
        for p in range(len(across) - 1):
            if high[k, p] >= reach:
                for y in range(down[k], down[k + 1]):
                    a, b = rows[before[y]], rows[min(before[y] + 1, len(rows) - 1)]
                    for x in range(across[p], across[p + 1]):
                        top = max(top, _blend(a[x], b[x], fraction[y]))
    return top


@compiled
def _list_pieces(low, high, limit, noise, listed):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Write into `listed` the patches of a band in which a run can begin or end -> their number.

    Those that the limit may cross, and those that lie on another side of it than the patch before. low, high (pieces,).
    """
    n, before = 0, 0
    for p in range(len(low)):
        side = 1 if low[p] - limit > 2 * noise else 0 if limit - high[p] > 2 * noise else 2
        if side == 2 or side != before:
            listed[n] = p
            n += 1
        before = side
    return n


@compiled
def _differs(rows, i, j, f, x, limit, noise, above):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Whether pixel x is not clearly on the asked side of the limit."""
    distance = np.float64(_blend(rows[i, x], rows[j, x], f)) - limit
    return (distance if above else -distance) <= noise


@compiled
def _turn(lines, odd, n, inside, x):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Begin or end a run at pixel x -> number of whole runs, whether one is open."""
    lines[odd, n, int(inside)] = x
    return n + inside, not inside


@compiled
def _find_runs(rows, i, j, f, across, listed, pieces, limit, noise, lines, odd):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """The runs of pixels > limit of one enlarged row -> their number.

    lines[odd] (n, 3): first pixel, end, room for a label. i, j, f: it lies at f between these rows; listed: see
    `_list_pieces`. A piece whose ends lie on one side of the limit, away from it, lies there whole. Else the crossing
    follows from the ends, and only pixels so near to it that rounding could move them across are computed.
    """
    n, inside = 0, False
    for k in range(pieces):
        p = listed[k]
        x, end = across[p], across[p + 1]
        first = np.float64(_blend(rows[i, x], rows[j, x], f))
        last = np.float64(_blend(rows[i, end - 1], rows[j, end - 1], f))
        above, stop = first > limit, end
        if min(abs(first - limit), abs(last - limit)) > noise:
            if above != inside:
                n, inside = _turn(lines, odd, n, inside, x)
            if above == (last > limit):
                continue
            inverse = (end - 1 - x) / (last - first)  # pixels per unit of value
            place = (limit - first) * inverse
            crossing = x + int(place)
            part, doubt = place - int(place), 2 * noise * abs(inverse)
            if doubt < part < 1 - doubt:  # rounding moves no pixel across
                n, inside = _turn(lines, odd, n, inside, crossing + 1)
                continue
            x, stop = crossing, crossing + 1
            while _differs(rows, i, j, f, x, limit, noise, above):
                x -= 1
            while _differs(rows, i, j, f, stop - 1, limit, noise, not above):
                stop += 1
        for q in range(x, stop):
            if (np.float64(_blend(rows[i, q], rows[j, q], f)) > limit) != inside:
                n, inside = _turn(lines, odd, n, inside, q)
    if inside:
        n, _ = _turn(lines, odd, n, inside, across[-1])
    return n


@compiled
def _join_runs(y, lines, n, above, parent, stats, labels):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Label the n runs of row y, joining them with those of the row above that they touch -> labels so far.

    Labels form a union-find forest, parent; stats: pixels, x0, y0, x1, y1 of a label. A component keeps its lowest
    label, that of its first pixel in raster order.
    """
    start, odd = 0, y % 2
    for r in range(n):
        x0, x1 = lines[odd, r, 0], lines[odd, r, 1]
        label = labels
        parent[label] = label
        stats[label, 0], stats[label, 1], stats[label, 2], stats[label, 3], stats[label, 4] = x1 - x0, x0, y, x1, y + 1
        while start < above and lines[1 - odd, start, 1] < x0:
            start += 1
        i = start
        while i < above and lines[1 - odd, i, 0] <= x1:
            other = lines[1 - odd, i, 2]
            while parent[other] != other:
                parent[other] = parent[parent[other]]
                other = parent[other]
            if other != label:
                low, high = min(label, other), max(label, other)
                parent[high] = low
                stats[low, 0] += stats[high, 0]
                for k in (1, 2):
                    stats[low, k] = min(stats[low, k], stats[high, k])
                    stats[low, k + 2] = max(stats[low, k + 2], stats[high, k + 2])
                label = low
            i += 1
        labels += label == labels  # it touches nothing above: a new component
        lines[odd, r, 2] = label
    return labels


@compiled
def _make_room(height, width):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """For as many labels as there can be, of pixels that touch no other, and for the runs of two rows.

    -> parent, stats, lines.
    """
    most = ((height + 1) // 2) * ((width + 1) // 2) + 1
    return np.empty(most, np.int32), np.empty((most, 5), np.int32), np.empty((2, width // 2 + 2, 3), np.int64)


@compiled
def _find_largest(parent, stats, labels):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """The label of the largest component, of several the first, or -1; how many components there are."""
    best, count = -1, 0
    for label in range(labels):
        if parent[label] == label:
            count += 1
            if best < 0 or stats[label, 0] > stats[best, 0]:
                best = label
    return best, count


@compiled
def bound_largest(mask):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """The largest 8-connected component of a mask (H, W) of 0 and 1, by pixels; of several the first in raster order.

    -> its box (4,) int64, zeros for an empty mask; the number of components.
    """
    height, width = mask.shape
    parent, stats, lines = _make_room(height, width)
    labels = above = 0
    for y in range(height):
        n, inside = 0, False
        for x in range(width):
            if (mask[y, x] != 0) != inside:
                n, inside = _turn(lines, y % 2, n, inside, x)
        if inside:
            n, _ = _turn(lines, y % 2, n, inside, width)
        labels = _join_runs(y, lines, n, above, parent, stats, labels)
        above = n
    best, count = _find_largest(parent, stats, labels)
    box = np.zeros(4, np.int64)
    if best >= 0:
        box[:] = stats[best, 1:]
    return box, count


@compiled
def box_enlarged(maps, height, width, fractions):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """The text's boxes of maps (k, h, w) float32 enlarged to height x width: fractions (T,) -> (k, T, 4) int64.

    The enlargement is never made. In a row of it, values are linear from cell to cell, so that only pixels near a
    crossing of the threshold are computed, each as OpenCV's resize computes it.
    """
    h, w = maps.shape[1:]
    before_x, fraction_x, across = _sample_axis(w, width)
    before_y, fraction_y, down = _sample_axis(h, height)
    rows = np.empty((h, width), np.float32)
    listed = np.empty(len(across), np.int64)
    parent, stats, lines = _make_room(height, width)
    boxes = np.empty((len(maps), len(fractions), 4), np.int64)
    for m in range(len(maps)):
        largest = np.float32(0)
        for y in range(h):
            for x in range(w):
                largest = max(largest, abs(maps[m, y, x]))
            for x in range(width):
                cell = before_x[x]
                rows[y, x] = _blend(maps[m, y, cell], maps[m, y, min(cell + 1, w - 1)], fraction_x[x])
        # Above the rounding of two interpolations of float32.
        noise = max(np.float32(1e-6) * largest, np.float32(1e-37))
        low, high = _bound_patches(rows, before_y, fraction_y, across, down)
        top = np.float64(_find_maximum(rows, before_y, fraction_y, across, down, high, noise))
        for t in range(len(fractions)):
            boxes[m, t] = np.array([0, 0, width, height])
            if top > 0:
                limit = fractions[t] * top
                labels = above = 0
                for k in range(len(down) - 1):
                    pieces = _list_pieces(low[k], high[k], limit, np.float64(noise), listed)
                    for y in range(down[k], down[k + 1]):
                        i, j, f = before_y[y], min(before_y[y] + 1, h - 1), fraction_y[y]
                        n = _find_runs(rows, i, j, f, across, listed, pieces, limit, np.float64(noise), lines, y % 2)
                        labels = _join_runs(y, lines, n, above, parent, stats, labels)
                        above = n
                best, _ = _find_largest(parent, stats, labels)
                if best >= 0:
                    boxes[m, t] = stats[best, 1:]
    return boxes
