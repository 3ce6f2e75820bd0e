"""Connected regions of a map in pixels: the released rule's second mask, and all thresholds at once."""

import math

import numpy as np

from camlib._kernels.compiled import compiled


@compiled
def _squared_distance(column, y, x, enough):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """From pixel (y, x) to the background, with the distances along columns: exact, or some number <= enough."""
    width = column.shape[1]
    least = column[y, x] ** 2
    dx = 1
    while least > enough and dx * dx < least:
        if x >= dx:
            least = min(least, column[y, x - dx] ** 2 + dx * dx)
        if x + dx < width:
            least = min(least, column[y, x + dx] ** 2 + dx * dx)
        dx += 1
    return least


@compiled
def _largest_square(column):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """The largest squared distance to the background, with the distances along columns.

    Two pixels' distances differ by no more than the way between the two. So a block of pixels holds none that is larger
    than the largest so far if its centre's distance and the way from there to its corner are together no more. Other
    blocks are quartered; those of 8 px are searched pixel by pixel.
    """
    height, width = column.shape
    top, side, least_side = 0, 32, 8
    for y in range(side // 2, height, side):  # the centres first, so that few blocks need more
        for x in range(side // 2, width, side):
            top = max(top, _squared_distance(column, y, x, top))
    if top >= (height + width) ** 2:  # no background
        return top
    blocks = np.empty((3 * 2 + 1, 3), np.int64)  # quartered twice, three wait each time
    for y0 in range(0, height, side):
        for x0 in range(0, width, side):
            blocks[0] = y0, x0, side
            n = 1
            while n:
                n -= 1
                up, left, size = blocks[n]
                half = size // 2
                nearest = math.sqrt(top) - math.sqrt(2) * half
                enough = nearest**2 if nearest > 0 else -1.0
                y, x = min(up + half, height - 1), min(left + half, width - 1)
                if _squared_distance(column, y, x, enough) <= enough:
                    continue
                if size == least_side:
                    for y in range(up, min(up + size, height)):
                        for x in range(left, min(left + size, width)):
                            top = max(top, _squared_distance(column, y, x, top))
                    continue
                for y in (up, up + half):
                    for x in (left, left + half):
                        if y < height and x < width:
                            blocks[n] = y, x, half
                            n += 1
    return top


@compiled
def distance_mask(mask):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Released step: distance to the background inside the mask, rescaled so its max is 255, rounded, then > 10.

    mask (H, W) of 0 and 1 -> the same, exact as of the Euclidean distance. That itself is never needed: with the
    distances along columns, find the largest squared distance, then the pixels whose squared distance reaches what
    rounds to 11 of it. A mask without background, or without foreground, stays as it is, as in the program.
    """
    height, width = mask.shape
    column = np.empty((height, width), np.int32)
    for x in range(width):
        column[0, x] = height + width if mask[0, x] else 0  # longer than any distance
    for y in range(1, height):
        for x in range(width):
            column[y, x] = column[y - 1, x] + 1 if mask[y, x] else 0
    for y in range(height - 2, -1, -1):
        for x in range(width):
            column[y, x] = min(column[y, x], column[y + 1, x] + 1)
    top = _largest_square(column)
    if top == 0 or top >= (height + width) ** 2:
        return mask
    scale = 255 / math.sqrt(top)
    least = 1
    while int(math.sqrt(least) * scale + 0.5) <= 10:  # the program's own arithmetic, in double precision
        least += 1
    far = np.ones_like(mask)
    reach = min(int(math.sqrt(least - 1)), width - 1)
    for y in range(height):
        for dx in range(-reach, reach + 1):
            limit = np.int32(math.ceil(math.sqrt(least - dx * dx)))
            start, stop = max(0, -dx), min(width, width - dx)
            near, line = far[y, start:stop], column[y, start + dx : stop + dx]
            for x in range(len(near)):  # in this form the compiler vectorises it
                near[x] = near[x] & np.uint8(line[x] >= limit)
    return far


@compiled
def sweep_components(bins, levels, gt, deltas):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Connected components of every superlevel set of a map, in one pass from the highest pixels down.

    bins (H, W) int16: a pixel of bin b is in the sets 0..b-1 of the `levels` nested sets. Pixels are added in falling
    order of their bin to a union-find forest (8-connected) that keeps the size and bounds of each component; the root
    of a component is its first pixel in raster order. gt (M, 4), deltas (D,).
    -> boxes (levels, 4): of the largest component (ties go to the first in raster order), zeros where the set is empty;
       hits (D, levels) bool: whether any component has IoU >= deltas[d] with any box of gt.
    """
    height, width = bins.shape
    stride = width + 2  # a border of one pixel that belongs to no component
    size = stride * (height + 2)
    start = np.zeros(levels + 2, np.int64)  # counting sort: start[b] is where bin b begins in `order`
    for y in range(height):
        for x in range(width):
            start[bins[y, x] + 1] += 1
    for b in range(1, levels + 2):
        start[b] += start[b - 1]
    order = np.empty(height * width, np.int32)
    place = start[: levels + 1].copy()
    for y in range(height):
        for x in range(width):
            b = bins[y, x]
            order[place[b]] = (y + 1) * stride + x + 1
            place[b] += 1

    parent = np.full(size, -1, np.int32)
    stats = np.empty((size, 6), np.int32)  # of roots: pixels, x0, y0, x1, y1, bin of the last evaluation or -1: it grew
    overlap = np.empty(size)  # of roots that did not grow since: IoU
    good = np.zeros(len(deltas), np.int64)  # live components with IoU >= each delta
    boxes = np.zeros((levels, 4), np.int32)
    hits = np.zeros((len(deltas), levels), np.bool_)
    around = np.array([-stride, stride, -1, 1, -stride - 1, -stride + 1, stride - 1, stride + 1])
    beside = np.array([0b111100, 0b11001100, 0b1010000, 0b10100000, 0, 0, 0, 0])  # which later ones touch it
    best = -1
    for b in range(levels, 0, -1):
        for i in range(start[b], start[b + 1]):
            pixel = root = order[i]
            parent[pixel] = pixel
            x0, y0 = pixel % stride - 1, pixel // stride - 1
            pixels, x1, y1, joined = 1, x0 + 1, y0 + 1, 0
            for k in range(8):
                other = pixel + around[k]
                if joined >> k & 1 or parent[other] < 0:
                    continue
                joined |= beside[k]
                while parent[other] != other:
                    parent[other] = parent[parent[other]]
                    other = parent[other]
                if other == root:
                    continue
                if stats[other, 5] >= 0:  # it grows: what was counted of it no longer holds
                    for d in range(len(deltas)):
                        good[d] -= overlap[other] >= deltas[d]
                pixels += stats[other, 0]
                x0, y0 = min(x0, stats[other, 1]), min(y0, stats[other, 2])
                x1, y1 = max(x1, stats[other, 3]), max(y1, stats[other, 4])
                first, second = min(root, other), max(root, other)
                parent[second] = root = first
            stats[root, 0], stats[root, 1], stats[root, 2], stats[root, 3], stats[root, 4] = pixels, x0, y0, x1, y1
            stats[root, 5] = -1
            if best < 0 or pixels > stats[best, 0] or (pixels == stats[best, 0] and root < best):
                best = root
        if best >= 0:
            boxes[b - 1] = stats[best, 1:5]
        if len(deltas) == 0:
            continue
        for i in range(start[b], start[b + 1]):
            root = order[i]
            while parent[root] != root:
                parent[root] = parent[parent[root]]
                root = parent[root]
            if stats[root, 5] == b:
                continue
            stats[root, 5] = b
            x0, y0, x1, y1 = stats[root, 1], stats[root, 2], stats[root, 3], stats[root, 4]
            overlap[root] = 0.0
            for m in range(len(gt)):
                w = min(gt[m, 2], x1) - max(gt[m, 0], x0)
                h = min(gt[m, 3], y1) - max(gt[m, 1], y0)
                if w > 0 and h > 0:
                    union = (x1 - x0) * (y1 - y0) + (gt[m, 2] - gt[m, 0]) * (gt[m, 3] - gt[m, 1]) - w * h
                    overlap[root] = max(overlap[root], w * h / union)
            for d in range(len(deltas)):
                good[d] += overlap[root] >= deltas[d]
        hits[:, b - 1] = good > 0
    return boxes, hits
