"""The largest component of a mask, and of enlarged maps without making the enlargement."""

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
def _find_maximum(rows, before, fraction, across, ends, noise):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """The largest pixel. Up to rounding it ends a piece, so only pieces with an end that large are looked into."""
    top = np.float32(ends.max())
    reach = top - noise
    for y in range(len(before)):
        a, b = rows[before[y]], rows[min(before[y] + 1, len(rows) - 1)]
        for p in range(len(across) - 1):
            if max(ends[y, p, 0], ends[y, p, 1]) >= reach:
                for x in range(across[p], across[p + 1]):
                    top = max(top, _blend(a[x], b[x], fraction[y]))
    return top


@compiled
def _differs(a, b, f, x, limit, noise, above):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Whether pixel x is not clearly on the asked side of the limit."""
    distance = np.float64(_blend(a[x], b[x], f)) - limit
    return (distance if above else -distance) <= noise


@compiled
def _find_runs(a, b, f, across, ends, limit, noise, runs):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """The runs of pixels > limit of one enlarged row -> their number; runs (n, 3): first pixel, end, room for a label.

    A piece whose ends (pieces, 2) lie on one side of the limit, away from it, lies there whole. Else only the pixels
    around the crossing are computed, as far as rounding could have moved one across.
    """
    n, inside = 0, False
    for p in range(len(across) - 1):
        x, end = across[p], across[p + 1]
        first, last = ends[p, 0], ends[p, 1]
        above, stop = first > limit, end
        if min(abs(first - limit), abs(last - limit)) > noise:
            if above != inside:
                runs[n, int(inside)] = x
                n, inside = n + inside, above
            if above == (last > limit):
                continue
            crossing = x + int((limit - first) / (last - first) * (end - 1 - x))
            x, stop = crossing, crossing + 1
            while _differs(a, b, f, x, limit, noise, above):
                x -= 1
            while _differs(a, b, f, stop - 1, limit, noise, not above):
                stop += 1
        for i in range(x, stop):
            if (np.float64(_blend(a[i], b[i], f)) > limit) != inside:
                runs[n, int(inside)] = i
                n, inside = n + inside, not inside
    if inside:
        runs[n, 1] = across[-1]
        n += 1
    return n


@compiled
def _join_runs(y, runs, n, upper, above, parent, stats, labels):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Label the n runs of row y, joining them with those of the row above that they touch -> labels so far.

    Labels form a union-find forest, parent; stats: pixels, x0, y0, x1, y1 of a label. A component keeps its lowest
    label, that of its first pixel in raster order.
    """
    start = 0
    for r in range(n):
        x0, x1 = runs[r, 0], runs[r, 1]
        label = labels
        parent[label] = label
        stats[label, 0], stats[label, 1], stats[label, 2], stats[label, 3], stats[label, 4] = x1 - x0, x0, y, x1, y + 1
        while start < above and upper[start, 1] < x0:
            start += 1
        i = start
        while i < above and upper[i, 0] <= x1:
            other = upper[i, 2]
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
        runs[r, 2] = label
    return labels


@compiled
def _make_room(height, width):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """For the labels of as many runs as there can be, and for the runs of two rows."""
    most = height * (width // 2 + 1) + 1
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
        upper, runs = lines[y % 2], lines[1 - y % 2]
        n, inside = 0, False
        for x in range(width):
            if (mask[y, x] != 0) != inside:
                runs[n, int(inside)] = x
                n, inside = n + inside, not inside
        if inside:
            runs[n, 1] = width
            n += 1
        labels = _join_runs(y, runs, n, upper, above, parent, stats, labels)
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
    before_y, fraction_y, _ = _sample_axis(h, height)
    rows = np.empty((h, width), np.float32)
    ends = np.empty((height, len(across) - 1, 2))  # of the pieces of every row
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
        noise = np.float32(1e-6) * largest  # above the rounding of two interpolations of float32
        for y in range(height):
            a, b = rows[before_y[y]], rows[min(before_y[y] + 1, h - 1)]
            for p in range(len(across) - 1):
                for side, x in enumerate((across[p], across[p + 1] - 1)):
                    ends[y, p, side] = _blend(a[x], b[x], fraction_y[y])
        top = np.float64(_find_maximum(rows, before_y, fraction_y, across, ends, noise))
        for t in range(len(fractions)):
            boxes[m, t] = np.array([0, 0, width, height])
            if top > 0:
                limit = fractions[t] * top
                labels = above = 0
                for y in range(height):
                    a, b = rows[before_y[y]], rows[min(before_y[y] + 1, h - 1)]
                    upper, runs = lines[y % 2], lines[1 - y % 2]
                    n = _find_runs(a, b, fraction_y[y], across, ends[y], limit, np.float64(noise), runs)
                    labels = _join_runs(y, runs, n, upper, above, parent, stats, labels)
                    above = n
                best, _ = _find_largest(parent, stats, labels)
                if best >= 0:
                    boxes[m, t] = stats[best, 1:]
    return boxes
