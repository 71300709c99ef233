"""Isolation forest, learned by scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import IsolationForest

from scorestream.infra.errors import TrainingError
from scorestream.tabular.model.families import FitOptions, Floats
from scorestream.tabular.model.families.forest import Forest


def fit(x: Floats, _truth: Floats, options: FitOptions) -> Forest:
    """Learn, with the parameters of scikit-learn's `IsolationForest`.

    `max_samples` are those of a tree, or all rows where they are fewer.

    Raises:
        TrainingError: a parameter that it refuses.
    """
    params = dict(options.params)
    if isinstance(params.get("max_samples"), int):
        params["max_samples"] = min(params["max_samples"], len(x))
    try:
        model = IsolationForest(**params, random_state=options.seed, n_jobs=1).fit(x)
    except (TypeError, ValueError) as error:
        raise TrainingError(f"family isolation_forest: {error}") from None
    return _convert_trees(model)


def _convert_trees(model: IsolationForest) -> Forest:
    """The trees of a model as tables."""
    trees = [estimator.tree_ for estimator in model.estimators_]
    roots = np.cumsum([0, *(tree.node_count for tree in trees)])
    columns = []
    for tree, seen, root in zip(trees, model.estimators_features_, roots, strict=False):
        own = np.arange(tree.node_count)
        leaf = tree.children_left < 0
        columns.append(
            (
                np.where(leaf, 0, np.asarray(seen)[np.maximum(tree.feature, 0)]),
                tree.threshold,
                root + np.where(leaf, own, tree.children_left),
                root + np.where(leaf, own, tree.children_right),
                _mean_lengths(tree),
            )
        )
    feature, threshold, left, right, length = (
        np.concatenate(c) for c in zip(*columns, strict=True)
    )
    return Forest(
        feature.astype(np.int32),
        threshold.astype(np.float64),
        left.astype(np.int32),
        right.astype(np.int32),
        length,
        roots[:-1].astype(np.int32),
        np.array([max(tree.max_depth for tree in trees)], np.int32),
        _search_length(np.array([model.max_samples_])),
    )


def _mean_lengths(tree: Any) -> Floats:
    """Mean path length of the training rows behind each node; children come after their parent."""
    left, right = tree.children_left, tree.children_right
    rows = tree.n_node_samples
    depth = np.zeros(len(left))
    for node in np.flatnonzero(left >= 0).tolist():
        depth[[left[node], right[node]]] = depth[node] + 1
    # Rows that no cut has set apart are as far as in a search tree of them. Nodes are counted and
    # one is taken off, as scikit-learn does: it rounds like this.
    length = depth + 1 + _search_length(rows) - 1
    for node in np.flatnonzero(left >= 0)[::-1].tolist():
        below = [left[node], right[node]]
        length[node] = np.average(length[below], weights=rows[below])
    return length


def _search_length(rows: npt.NDArray[np.int64]) -> Floats:
    """Mean path length of unsuccessful searches in binary search trees of so many rows."""
    many = np.maximum(rows, 2).astype(np.float64)
    lengths = 2 * (np.log(many - 1) + np.euler_gamma) - 2 * (many - 1) / many
    return np.where(rows <= 1, 0.0, np.where(rows == 2, 1.0, lengths))
