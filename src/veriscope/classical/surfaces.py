"""Where the surface in a stack lies: smooth manifold extraction (SME), the sheet of least cost, PreMosa.

Each takes a stack (Z Y X), scaled to 0 .. 1, and answers with the plane of the surface at every pixel (Y X).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates, median_filter, minimum_filter, uniform_filter

Pixels = NDArray[np.float32]
Heights = NDArray[np.float64]
Edges = NDArray[np.intp]

# SME
BACKGROUND, UNCERTAIN, FOREGROUND = range(3)
BINS = 100  # of the histogram of brightness
FIRST_STEPS = 100  # that lead from the lowest to the highest plane
SHRINK = 0.99  # of the step, every time
SETTLED = 1e-6  # of the range of planes: a smaller change of the mean cost is none
GIVING = 6.0  # smoothness where it cannot be measured; 3 is what a pixel needs to leave a flat surface for a lone peak
NEAREST = 1e-4  # planes: no smaller step is worth taking

# The sheet of least cost
ENDLESS = 2**30  # capacity of an arc that must not be cut; those that may be cut sum up to less

# PreMosa
ROUGH = ((4, 0.1), (2, 0.1), (1, 0.1))  # radii of the medians in cells, and how far from them is an outlier (of Z)


def smooth_manifold(stack: Pixels) -> Heights:
    """SME (Shihavuddin et al. 2017): a smooth sheet through the planes of bright pixels.

    Columns are sorted into background, uncertain and foreground by how they vary along Z. Then every pixel pays for the
    distance from its brightest plane, if it is sure of it, and for standing out from its eight neighbours; all move
    at once, in steps that shrink, as long as that reduces the cost. There are no settings.
    """
    kind = column_kinds(stack)
    first, light = stack.argmax(axis=0).astype(np.float64), stack.max(axis=0)
    pull = _pull(kind, first, light)
    sure = first[kind != BACKGROUND]
    span = (float(np.ptp(sure)) if sure.size else 0.0) + 1
    return _relaxed(first, pull, span)


def column_kinds(stack: Pixels) -> NDArray[np.intp]:
    """BACKGROUND, UNCERTAIN or FOREGROUND per pixel: three means of the spectra along Z, in the order of their sums.

    The means start from equal parts of the range of these sums, so that nothing is left to chance.
    """
    from scipy.cluster.vq import vq
    from scipy.fft import rfft

    planes = len(stack)
    lines = np.moveaxis(stack, 1, 0)  # one by one, to spare memory
    rows = [np.abs(rfft(line, axis=0)[1 : (planes + 1) // 2]) for line in lines]
    spectra = np.stack(rows, axis=1).reshape(len(rows[0]), -1).T
    ranges = np.ptp(spectra, axis=0)
    spectra = np.ascontiguousarray(spectra / np.where(ranges > 0, ranges, 1))
    sums = spectra.sum(axis=1)
    kinds = np.digitize(sums, sums.min() + np.ptp(sums) * np.array([1 / 3, 2 / 3]))
    centres = np.array([spectra[kinds == kind].mean(axis=0) for kind in np.unique(kinds)])
    for _ in range(300):
        kinds = vq(spectra, centres, check_finite=False)[0]
        present = np.unique(kinds)
        moved = np.array([spectra[kinds == kind].mean(axis=0, dtype=np.float64) for kind in present], np.float32)
        if moved.shape == centres.shape and np.array_equal(moved, centres):
            break
        centres = moved
    ranks = np.argsort(np.argsort(centres.sum(axis=1))) + 3 - len(centres)  # where there are fewer, none is background
    kinds = vq(spectra, centres, check_finite=False)[0]
    return np.asarray(ranks[kinds].reshape(stack.shape[1:]))


def _pull(kind: NDArray[np.intp], first: Heights, light: Pixels) -> Heights:
    """What a plane of distance from the brightest one costs each pixel."""
    fore, unsure, back = (kind == one for one in (FOREGROUND, UNCERTAIN, BACKGROUND))
    strength = 1 / _smoothness(first, light, fore, unsure)
    trust = 1.0
    if unsure.any() and back.any():
        dark, middle, bright = (float(light[one].mean(dtype=np.float64)) for one in (back, unsure, fore))
        trust = float(np.clip((middle - dark) / (bright - dark), 0, 1)) if bright > dark else 0.0
    return np.where(fore, strength, np.where(unsure, trust * strength, 0.0))


def _smoothness(first: Heights, light: NDArray[Any], fore: NDArray[np.bool_], unsure: NDArray[np.bool_]) -> float:
    """How far foreground stands out from its neighbours, at the quantile that keeps what is surely bright."""
    middles = np.linspace(light.min(), light.max(), BINS)
    edges = np.concatenate([[-np.inf], (middles[1:] + middles[:-1]) / 2, [np.inf]])
    fractions = [np.histogram(light[one], edges)[0] / max(np.count_nonzero(one), 1) for one in (unsure, fore)]
    dimmer = np.flatnonzero(fractions[0] > fractions[1])
    least = middles[dimmer[-1]] if dimmer.size else -np.inf
    below, above = np.count_nonzero(light[fore] <= least), np.count_nonzero(light[fore] > least)
    quantile = min(below / above, 1.0) if above else 1.0
    mean, squares = _around(first)
    apart = np.abs(first - mean)
    rise = _deviation(first, mean, squares) - np.sqrt(squares / 8)
    inner = (minimum_filter(fore.astype(np.uint8), 3, mode="reflect") > 0) & (rise > 0)
    if not inner.any():  # nothing to measure it on
        return GIVING
    return float(np.quantile(apart[inner] / rise[inner], quantile))


def _around(height: Heights) -> tuple[Heights, Heights]:
    """Mean of the eight neighbours, and the sum of their squared distances from it."""
    total, total_squares = (9 * uniform_filter(one, 3, mode="reflect") for one in (height, height**2))
    mean = (total - height) / 8
    return mean, np.maximum(total_squares - height**2 - 8 * mean**2, 0)


def _deviation(height: Heights, mean: Heights, squares: Heights) -> Heights:
    """Standard deviation of a pixel at `height` and its eight neighbours together."""
    return np.asarray(np.sqrt((squares + (height - mean) ** 2 * (8 / 9)) / 8))


def _relaxed(first: Heights, pull: Heights, span: float) -> Heights:
    """The sheet that costs least, as far as small steps lead there."""
    height, step, before = first.copy(), span / FIRST_STEPS, np.inf
    while step > NEAREST:
        mean, squares = _around(height)
        best = pull * np.abs(height - first) + _deviation(height, mean, squares)
        here = height
        for moved in (here - step, here + step):
            cost = pull * np.abs(moved - first) + _deviation(moved, mean, squares)
            better = cost < best
            best, height = np.where(better, cost, best), np.where(better, moved, height)
        cost_now = float(best.mean())
        if abs(before - cost_now) <= SETTLED * span:
            break
        before, step = cost_now, step * SHRINK
    return height


# The sheet of least cost


def minimum_cost(stack: Pixels, blur: float, step: int, bend: int) -> Heights:
    """The best of all sheets that bend no more than allowed (Wu and Chen 2002, Li et al. 2006).

    The cost of a voxel is its brightness after a Gaussian of `blur` pixels (half as many planes), negative. It is
    averaged over `step` x `step` pixels, and next to each other such columns differ by at most `bend` planes.
    """
    calm = gaussian_filter(stack, (blur / 2, blur, blur), mode="nearest")
    edges = [edges_of(size, step) for size in stack.shape[1:]]
    coarse = least_cost(np.stack([-mean_of_parts(plane.astype(np.float64), edges) for plane in calm]), bend)
    middles = [((part[:-1] + part[1:] - 1) / 2, part[-1]) for part in edges]  # beyond the last the sheet is level
    places = [np.interp(np.arange(size), middle, np.arange(len(middle))) for middle, size in middles]
    return np.asarray(map_coordinates(coarse.astype(np.float64), np.meshgrid(*places, indexing="ij"), order=1))


def least_cost(cost: NDArray[np.float64], bend: int) -> NDArray[np.intp]:
    """The sheet (Y X, planes) of least total `cost` (Z Y X) among those whose 4-neighbours differ by `bend` at most.

    The minimum is exact. A closed set of voxels, with every voxel also all those below it and those on which a
    neighbour must rest, is worth the sum of its weights; the best such set is one side of a minimum cut, and its top is
    the sheet.
    """
    from scipy.sparse import coo_array, csr_array

    weights = _whole(np.diff(cost, axis=0))  # of plane 1 and up: plane 0 is below any sheet, and rests on nothing
    planes, rows, columns = weights.shape
    source, sink = weights.size, weights.size + 1
    node = np.arange(weights.size, dtype=np.int32).reshape(weights.shape)
    arcs = [(node[1:], node[:-1])]
    if bend < planes:
        for here, there in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:, :, :-1], np.s_[:, :, 1:])):
            for one, other in ((node[here], node[there]), (node[there], node[here])):
                arcs.append((one[bend:], other[: planes - bend]))
    flat = weights.ravel()
    good, bad = np.flatnonzero(flat < 0).astype(np.int32), np.flatnonzero(flat > 0).astype(np.int32)
    tails = [*(tail.ravel() for tail, _ in arcs), np.full(good.size, source, np.int32), bad]
    heads = [*(head.ravel() for _, head in arcs), good, np.full(bad.size, sink, np.int32)]
    inside = sum(tail.size for tail, _ in arcs)
    capacity = np.concatenate([np.full(inside, ENDLESS, np.int32), -flat[good], flat[bad]]).astype(np.int32)
    size = weights.size + 2
    graph = csr_array(coo_array((capacity, (np.concatenate(tails), np.concatenate(heads))), shape=(size, size)))
    closed = _source_side(graph, source, sink)[: weights.size].reshape(planes, rows, columns)
    return np.asarray(closed.sum(axis=0))


def _source_side(graph: Any, source: int, sink: int) -> NDArray[np.bool_]:
    """Which nodes can still be reached from the source when no more can flow."""
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    left = (graph.astype(np.int64) - maximum_flow(graph, source, sink).flow.astype(np.int64)).tocsr()
    left.data = (left.data > 0).astype(np.int8)
    left.eliminate_zeros()
    reached = np.zeros(graph.shape[0], bool)
    reached[breadth_first_order(left, source, return_predecessors=False)] = True
    return reached


def _whole(weights: NDArray[np.float64]) -> NDArray[np.int32]:
    """Weights as whole numbers, as fine as fits: the positive ones, and the negative, sum up to less than 2^30."""
    most = max(float(np.abs(part).sum(dtype=np.float64)) for part in (weights[weights > 0], weights[weights < 0]))
    largest = float(np.abs(weights).max())
    if most == 0:
        return np.zeros(weights.shape, np.int32)
    scale = min((ENDLESS - weights.size) / most, 2**20 / largest)
    return np.rint(weights * scale).astype(np.int32)


# PreMosa


def premosa(stack: Pixels, block: int, brightest: int, reach: int) -> Heights:
    """PreMosa (Blasse et al. 2017): blocks of bright pixels, refined by the contrast of smaller cells.

    In each block (about `block` pixels wide) the `brightest` pixels of the maximum vote for their plane. Blocks become
    four cells, outliers among them the median of their surroundings. Then each cell climbs to the plane where it
    has most contrast, as far as contrast grows within `reach` planes. Between cells the height is bilinear.

    The original works with 8 bits. Ranks decide here, so that one speck that is very bright does not flatten the rest.
    """
    blocks = [edges_of(size, block) for size in stack.shape[1:]]
    cells = [_halved(edges) for edges in blocks]
    height = _votes(stack, blocks, brightest)
    for axis in range(2):
        height = height.repeat((len(cells[axis]) - 1) // height.shape[axis], axis=axis)
    for radius, fraction in ROUGH:
        height = _without_outliers(height, radius, fraction * len(stack))
    planes = (plane.astype(np.float64) for plane in stack)
    variances = [mean_of_parts(plane**2, cells) - mean_of_parts(plane, cells) ** 2 for plane in planes]
    height = _climbed(height.astype(np.intp), np.stack(variances), reach).astype(np.float64)
    wide = np.pad(_without_outliers(height, 1, 1), 1, mode="edge")
    corners = (wide[:-1, :-1] + wide[1:, :-1] + wide[:-1, 1:] + wide[1:, 1:]) / 4  # means of the cells that meet there
    places = [np.interp(np.arange(part[-1]) + 0.5, part, np.arange(len(part))) for part in cells]
    return np.asarray(map_coordinates(corners, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest"))


def _halved(edges: Edges) -> Edges:
    """Each part cut in two; all stay whole where one is a single pixel."""
    return edges if np.diff(edges).min() < 2 else np.sort(np.concatenate([edges, (edges[:-1] + edges[1:]) // 2]))


def _votes(stack: Pixels, edges: list[Edges], brightest: int) -> Heights:
    """Per block the most frequent plane among the brightest pixels of the maximum; of several the first."""
    light, plane = stack.max(axis=0), stack.argmax(axis=0)
    rows, columns = edges
    height = np.empty((len(rows) - 1, len(columns) - 1))
    for y, x in np.ndindex(height.shape):
        part = slice(rows[y], rows[y + 1]), slice(columns[x], columns[x + 1])
        bright, voted = light[part].ravel(), plane[part].ravel()
        count = min(brightest, bright.size)
        least = np.partition(bright, bright.size - count)[bright.size - count]
        height[y, x] = np.bincount(voted[bright >= least]).argmax()
    return height


def _without_outliers(height: Heights, radius: int, far: float) -> Heights:
    middle = median_filter(height, size=2 * radius + 1, mode="nearest")
    return np.where(np.abs(height - middle) > far, middle, height)


def _climbed(height: NDArray[np.intp], contrast: Heights, reach: int) -> NDArray[np.intp]:
    """The plane of most `contrast` (Z, cells along Y and X) within `reach` of `height`, again and again for as long as
    that is the last one looked at.
    """
    planes = len(contrast)
    window = np.arange(-reach, reach + 1).reshape(-1, 1, 1)
    for _ in range(planes):
        looked_at = height + window
        inside = (looked_at >= 0) & (looked_at < planes)
        values = np.take_along_axis(contrast, np.clip(looked_at, 0, planes - 1), axis=0)
        values = np.where(inside, values, -np.inf)
        step = np.where(values.max(axis=0) > values[reach], values.argmax(axis=0) - reach, 0)
        height = height + step
        if not (np.abs(step) == reach).any() or reach == 0:
            break
    return height


# Parts of planes


def edges_of(size: int, width: int) -> Edges:
    """Where parts of about `width` begin, and the end of the last: at least one part, and none much smaller."""
    parts = max(1, round(size / width))
    return np.round(np.linspace(0, size, parts + 1)).astype(np.intp)


def mean_of_parts(plane: NDArray[Any], edges: Sequence[Edges]) -> Heights:
    """Means of the rectangles that `edges` (along Y, along X) cut a plane into."""
    rows, columns = (part[:-1] for part in edges)
    sums: Heights = np.add.reduceat(np.add.reduceat(plane, rows, axis=0), columns, axis=1)
    return sums / np.outer(*(np.diff(part) for part in edges))
