"""The surface of least cost: the best of all sheets that bend no more than allowed (Wu and Chen 2002, Li et al. 2006).

The minimum is exact. A closed set of voxels, with every voxel also all those below it and those on which a neighbour
must rest, is worth the sum of its weights; the best such set is one side of a minimum cut, and its top is the sheet.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from veriscope.classical.premosa import edges_of, mean_of_parts

Heights = NDArray[np.float64]

ENDLESS = 2**30  # capacity of an arc that must not be cut; those that may be cut sum up to less


def find_surface(stack: NDArray[np.float32], blur: float, step: int, bend: int) -> Heights:
    """The plane of the surface (Y X) in `stack` (Z Y X), which is scaled to 0 .. 1.

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
    """The sheet (Y X, planes) of least total `cost` (Z Y X) among those whose 4-neighbours differ by `bend` at most."""
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


def _source_side(graph: csr_array, source: int, sink: int) -> NDArray[np.bool_]:
    """Which nodes can still be reached from the source when no more can flow."""
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
