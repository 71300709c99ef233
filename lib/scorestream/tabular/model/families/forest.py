"""Isolation forests as they are kept and applied: arrays of numbers, by numpy alone.

A row that few random cuts set apart from the others is an anomaly. The score of scikit-learn is
2^(-mean path length / that of a search tree); the margin here is its logarithm, which adds up over
trees, and along a path over the cuts.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from scorestream.tabular.model.families import Floats

Ints = npt.NDArray[np.int32]
_FILE: Final = "forest.npz"
# So many rows go through all trees at once.
_CHUNK: Final = 2_048


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees as tables of their nodes, one after the other.

    Attributes:
        feature: int32[nodes], the column that a node cuts; 0 in a leaf.
        threshold: float64[nodes]; a value up to it, in single precision, goes left.
        left: int32[nodes], the node to the left; a leaf's is itself.
        right: int32[nodes].
        length: float64[nodes], mean path length of the training rows that came through.
        roots: int32[trees].
        depth: cuts on the longest path, as an array of one.
        scale: path length of a score of one half, as an array of one.
    """

    feature: Ints
    threshold: Floats
    left: Ints
    right: Ints
    length: Floats
    roots: Ints
    depth: Ints
    scale: Floats

    def margin(self, x: Floats) -> Floats:
        """Logarithms of the scores of encoded rows."""
        parts = [self._lengths(x[start : start + _CHUNK]) for start in range(0, len(x), _CHUNK)]
        return self._unit * np.concatenate(parts)

    def contributions(self, x: Floats) -> Floats:
        """What the cuts of each column change of the expected path length, and that of the roots.

        A cut gives its column the difference between the mean path lengths behind and before it.
        Which column is cut first is random in every tree, so that none is favoured by its place.
        """
        parts = [self._changes(x[start : start + _CHUNK]) for start in range(0, len(x), _CHUNK)]
        start = np.full((len(x), 1), self.length[self.roots].sum())
        return self._unit * np.concatenate([np.concatenate(parts), start], axis=1)

    def save(self, folder: Path) -> None:
        """Write it into an existing folder."""
        np.savez(
            folder / _FILE, **{field.name: getattr(self, field.name) for field in fields(self)}
        )

    @property
    def _unit(self) -> float:
        """A path length, summed over the trees, times this is a logarithm of a score."""
        return float(-np.log(2) / (len(self.roots) * self.scale[0]))

    def _lengths(self, x: Floats) -> Floats:
        """Path lengths of rows, summed over the trees in their order.

        A sum along an axis would add in another order where there is one row only.
        """
        nodes = self._start(x)
        values = _to_single_precision(x)
        for _ in range(self.depth[0]):
            nodes = self._step(nodes, values)
        total = np.zeros(len(x))
        for lengths in self.length[nodes]:
            total += lengths
        return total

    def _changes(self, x: Floats) -> Floats:
        """Changes of the expected path length by column (rows x columns)."""
        nodes, values = self._start(x), _to_single_precision(x)
        cells = np.arange(len(x)) * x.shape[1]
        changes = np.zeros(x.size)
        for _ in range(self.depth[0]):
            after = self._step(nodes, values)
            change = self.length[after] - self.length[nodes]
            places = (cells + self.feature[nodes]).ravel()
            changes += np.bincount(places, change.ravel(), x.size)
            nodes = after
        return changes.reshape(x.shape)

    def _start(self, x: Floats) -> Ints:
        """The roots for each row (trees x rows)."""
        return np.repeat(self.roots[:, None], len(x), axis=1)

    def _step(self, nodes: Ints, values: Floats) -> Ints:
        seen = values[np.arange(len(values)), self.feature[nodes]]
        goes_left = seen <= self.threshold[nodes]
        return np.where(goes_left, self.left[nodes], self.right[nodes])


def load(folder: Path) -> Forest:
    """Read a model.

    Raises:
        ValueError: it is damaged.
    """
    try:
        with (folder / _FILE).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            forest = Forest(**{field.name: arrays[field.name] for field in fields(Forest)})
    except (EOFError, zipfile.BadZipFile) as error:
        raise ValueError(str(error)) from None
    nodes = len(forest.feature)
    for places in (forest.left, forest.right, forest.roots):
        if places.size == 0 or places.min() < 0 or places.max() >= nodes:
            raise ValueError(f"{_FILE}: a node is none of {nodes}")
    return forest


def _to_single_precision(x: Floats) -> Floats:
    """Values in single precision, in which the cuts were learned."""
    limit = np.finfo(np.float32).max
    return np.clip(x, -limit, limit).astype(np.float32).astype(np.float64)
