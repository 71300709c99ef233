"""Plots of an evaluation as PNG, drawn without a display and global state."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn import metrics as sk

from scorestream.infra.display import visible
from scorestream.tabular.model.families import Floats
from scorestream.tabular.model.trained_model import ModelCard, to_probabilities
from scorestream.tabular.training.evaluation import BINS

INK: Final = "#1f3a5f"
RED: Final = "#c33"
MAX_BARS: Final = 25


def evaluation_plots(card: ModelCard, truth: Floats, margin: Floats) -> dict[str, bytes]:
    """Draw the plots of a task, by file name.

    Args:
        card: says what margins mean.
        truth: values of the target, places of labels, or whether an anomaly, of held-out rows.
        margin: predicted for them.
    """
    if card.task == "regression":
        predicted = np.exp(margin) if card.log else margin
        return {
            "residuals.png": _draw(_residuals, truth, predicted),
            "predicted_against_actual.png": _draw(_against, truth, predicted),
        }
    if card.task == "anomaly":
        return _anomaly_plots(card, truth, np.exp(margin))
    p = to_probabilities(margin)
    plots = {
        "confusion_matrix.png": _draw(_confusion, card.labels, truth, p),
        "calibration.png": _draw(_calibration, truth, p),
    }
    if len(np.unique(truth)) == len(card.labels):
        plots["roc.png"] = _draw(_roc, card.labels, truth, p)
        plots["precision_recall.png"] = _draw(_precision_recall, card.labels, truth, p)
    return plots


def _anomaly_plots(card: ModelCard, truth: Floats, score: Floats) -> dict[str, bytes]:
    plots = {"scores.png": _draw(_scores, truth, score, card.flag)}
    known = np.isfinite(truth)
    if len(np.unique(truth[known])) == 2:
        labels, p = ("normal", "anomalous"), np.stack([1 - score, score], axis=1)[known]
        plots["roc.png"] = _draw(_roc, labels, truth[known], p)
        plots["precision_recall.png"] = _draw(_precision_recall, labels, truth[known], p)
    return plots


def importance_plot(importances: Mapping[str, float]) -> bytes:
    """Features by their mean absolute contribution to the margin."""
    return _draw(_bars, importances)


def learning_plot(metric: str, rows: Sequence[int], values: Sequence[float]) -> bytes:
    """A metric on held-out rows by the number of rows that were learned."""
    return _draw(_learning, metric, rows, values)


def _draw(draw: Callable[..., None], *arguments: Any) -> bytes:
    picture = io.BytesIO()
    # A name with two dollar signs is no formula.
    with rc_context({"text.parse_math": False}):
        figure = Figure(figsize=(6.4, 4.8), layout="constrained")
        draw(figure.subplots(), *arguments)
        # Without the version of the library: the same data give the same bytes.
        figure.savefig(picture, format="png", dpi=100, metadata={"Software": None})
    return picture.getvalue()


def _label_axes(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def _residuals(axes: Axes, truth: Floats, predicted: Floats) -> None:
    axes.scatter(predicted, truth - predicted, s=6, color=INK, alpha=0.5)
    axes.axhline(0, color=RED, linestyle="--", linewidth=1)
    _label_axes(
        axes, f"residuals of {len(truth):,} held-out rows", "predicted", "actual - predicted"
    )


def _against(axes: Axes, truth: Floats, predicted: Floats) -> None:
    axes.scatter(predicted, truth, s=6, color=INK, alpha=0.5)
    bounds = [min(truth.min(), predicted.min()), max(truth.max(), predicted.max())]
    axes.plot(bounds, bounds, color=RED, linestyle="--", linewidth=1)
    _label_axes(axes, f"{len(truth):,} held-out rows", "predicted", "actual")


def _confusion(axes: Axes, labels: Sequence[str], truth: Floats, p: Floats) -> None:
    counts = sk.confusion_matrix(truth, p.argmax(axis=1), labels=range(len(labels)))
    axes.imshow(counts, cmap="Blues")
    for (row, column), count in np.ndenumerate(counts):
        light = count > counts.max() / 2
        axes.text(column, row, f"{count:,}", ha="center", color="white" if light else "black")
    axes.set_xticks(range(len(labels)), list(map(visible, labels)))
    axes.set_yticks(range(len(labels)), list(map(visible, labels)))
    _label_axes(axes, f"{len(truth):,} held-out rows", "predicted", "actual")


def _calibration(axes: Axes, truth: Floats, p: Floats) -> None:
    if p.shape[1] == 2:
        probability, hit = p[:, 1], truth == 1
    else:
        probability, hit = p.max(axis=1), p.argmax(axis=1) == truth
    place = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    there = counts > 0
    means = np.bincount(place, probability, BINS)[there] / counts[there]
    axes.plot([0, 1], [0, 1], color=RED, linestyle="--", linewidth=1)
    axes.plot(means, np.bincount(place, hit, BINS)[there] / counts[there], "o-", color=INK)
    _label_axes(axes, "calibration", "probability told", "share of rows")


def _scores(axes: Axes, truth: Floats, score: Floats, flag: float) -> None:
    edges = np.linspace(score.min(), score.max(), 40).tolist()
    kinds = {"normal": truth == 0, "anomalous": truth == 1, "unknown": ~np.isfinite(truth)}
    there = {name: score[rows] for name, rows in kinds.items() if rows.any()}
    axes.hist(list(there.values()), edges, stacked=True, label=list(there))
    axes.axvline(np.quantile(score, 1 - flag, method="higher"), color=RED, linestyle="--")
    axes.legend()
    _label_axes(
        axes, f"scores of {len(score):,} held-out rows", "score; flagged behind the line", "rows"
    )


def _curves(labels: Sequence[str], truth: Floats, p: Floats) -> list[tuple[str, Floats, Floats]]:
    """Of each label to be told from the others: name, whether a row has it, its probability."""
    places = [1] if len(labels) == 2 else range(len(labels))
    return [(labels[k], np.asarray(truth == k, np.float64), p[:, k]) for k in places]


def _roc(axes: Axes, labels: Sequence[str], truth: Floats, p: Floats) -> None:
    for name, hit, score in _curves(labels, truth, p):
        false, true, _ = sk.roc_curve(hit, score)
        axes.plot(false, true, label=f"{_label(name)}, area {sk.auc(false, true):.4f}")
    axes.plot([0, 1], [0, 1], color=RED, linestyle="--", linewidth=1)
    axes.legend()
    _label_axes(axes, "ROC", "false positive rate", "true positive rate")


def _precision_recall(axes: Axes, labels: Sequence[str], truth: Floats, p: Floats) -> None:
    for name, hit, score in _curves(labels, truth, p):
        precision, recall, _ = sk.precision_recall_curve(hit, score)
        axes.plot(recall, precision, label=_label(name))
    axes.legend()
    _label_axes(axes, "precision and recall", "recall", "precision")


def _label(name: str) -> str:
    """A name in a legend, which leaves out those that begin with an underscore."""
    return f" {visible(name)}" if name.startswith("_") else visible(name)


def _bars(axes: Axes, importances: Mapping[str, float]) -> None:
    largest = sorted(importances.items(), key=lambda item: item[1])[-MAX_BARS:]
    axes.barh([visible(name) for name, _ in largest], [v for _, v in largest], color=INK)
    _label_axes(axes, "importance", "mean absolute contribution to the margin", "")


def _learning(axes: Axes, metric: str, rows: Sequence[int], values: Sequence[float]) -> None:
    axes.plot(rows, values, "o-", color=INK)
    _label_axes(axes, "learning curve", "rows learned", f"{metric} on held-out rows")
