"""A random forest as plain arrays: grown by scikit-learn, asked here, kept in a file that holds numbers only.

scikit-learn keeps forests by pickle, and opening a pickle can run whatever its author wished. A tree is no more than
five columns of numbers, so that is what is saved.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import ModelError

BLOCK = 1 << 13  # samples asked at a time: their features stay in the processor's cache while the trees go by
KINDS = {"starts": "i", "feature": "i", "threshold": "f", "left": "i", "right": "i", "value": "f"}


@dataclass(frozen=True, eq=False)
class Forest:
    """The nodes of all trees, one tree after the other; the first node of each is its root.

    A sample goes `left` where its `feature` is at most `threshold`, otherwise `right`; in a leaf both lead to the leaf
    itself, and `value` holds the fraction of each class. Children stand behind their parents, so every way ends.
    """

    starts: NDArray[np.int64]  # (trees,): the roots
    feature: NDArray[np.int32]  # (nodes,) and so below; left and right count from the first node of all
    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.float32]  # (nodes, classes), each row adds up to 1

    def probability(self, features: NDArray[np.float32], workers: int = 1) -> NDArray[np.float32]:
        """(samples, features) to (samples, classes): the mean of what the trees say."""
        feature = self.feature.astype(np.intp)
        children = np.stack([self.left, self.right], axis=1).ravel().astype(np.intp)  # of node k at 2 k and 2 k + 1

        def ask(some: NDArray[np.float32]) -> NDArray[np.float32]:
            samples, width = some.shape
            flat = np.ascontiguousarray(some).ravel()
            total = np.zeros((samples, self.value.shape[1]), np.float32)
            for root in self.starts:
                leaf = np.empty(samples, np.intp)
                moving, at = np.arange(samples), np.full(samples, root)
                while len(moving):
                    right = flat.take(moving * width + feature.take(at)) > self.threshold.take(at)
                    to = children.take(2 * at + right)
                    arrived = to == at
                    leaf[moving[arrived]] = to[arrived]
                    moving, at = moving[~arrived], to[~arrived]
                total += self.value.take(leaf, axis=0)
            return total / np.float32(len(self.starts))

        blocks = [features[start : start + BLOCK] for start in range(0, len(features), BLOCK)]
        with ThreadPoolExecutor(workers) as pool:  # NumPy lets go of Python while it gathers
            answers = list(pool.map(ask, blocks))
        return np.concatenate([np.empty((0, self.value.shape[1]), np.float32), *answers])


def grow(
    features: NDArray[np.float32], classes: NDArray[Any], trees: int = 200, seed: int = 0, workers: int = 1
) -> Forest:
    """Grow a forest with scikit-learn: (samples, features) float32 and the class of each sample, from 0 on."""
    from sklearn.ensemble import RandomForestClassifier

    grown = RandomForestClassifier(trees, min_samples_leaf=3, random_state=seed, n_jobs=workers).fit(features, classes)
    parts = [tree.tree_ for tree in grown.estimators_]
    counts = [part.node_count for part in parts]
    starts = np.cumsum([0, *counts[:-1]])
    own = np.arange(sum(counts))
    offsets = np.repeat(starts, counts)
    left, right = (
        np.concatenate([getattr(part, side) for part in parts]) for side in ("children_left", "children_right")
    )
    leaf = left < 0
    value = np.concatenate([part.value[:, 0] for part in parts])
    return Forest(
        starts.astype(np.int64),
        np.where(leaf, 0, np.concatenate([part.feature for part in parts])).astype(np.int32),
        _down(np.where(leaf, 0.0, np.concatenate([part.threshold for part in parts]))),
        np.where(leaf, own, left + offsets).astype(np.int32),
        np.where(leaf, own, right + offsets).astype(np.int32),
        (value / value.sum(axis=1, keepdims=True)).astype(np.float32),
    )


def _down(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 that is not above: parts float32 features in the same way."""
    near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near)


def from_arrays(arrays: Mapping[str, NDArray[Any]], features: int, classes: int, where: str) -> Forest:
    """A forest of arrays from a file. Raises ModelError, naming `where`, unless every sample would find its leaf."""
    try:
        forest = Forest(**{name: arrays[name] for name in KINDS})
    except KeyError as missing:
        raise _damaged(where, f"it has no {missing.args[0]}") from missing
    nodes = len(forest.feature)
    own = np.arange(nodes)
    inside = forest.left.shape == forest.right.shape == forest.threshold.shape == forest.feature.shape == (nodes,)
    if any(array.dtype.kind != KINDS[name] for name, array in vars(forest).items()):
        raise _damaged(where, "its numbers are of the wrong type")
    if not (
        inside and nodes and len(forest.starts) and forest.value.shape == (nodes, classes) and forest.starts.ndim == 1
    ):
        raise _damaged(where, "its parts do not fit each other")
    leaf = (forest.left == own) & (forest.right == own)
    ahead = (np.minimum(forest.left, forest.right) > own) & (np.maximum(forest.left, forest.right) < nodes)
    if not (
        (leaf | ahead).all()
        and ((forest.starts >= 0) & (forest.starts < nodes)).all()
        and ((forest.feature >= 0) & (forest.feature < features)).all()
        and np.isfinite(forest.value).all()
    ):
        raise _damaged(where, "its trees lead nowhere")
    return forest


def _damaged(where: str, reason: str) -> ModelError:
    return ModelError(f"{where} is no pixel classifier that can be used: {reason}. Copy it again, or train it anew.")
