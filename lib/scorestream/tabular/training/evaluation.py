"""Metrics of predictions on rows that were not trained on."""

from __future__ import annotations

from typing import Final

import numpy as np
from sklearn import metrics as sk

from scorestream.tabular.model.families import Floats
from scorestream.tabular.model.trained_model import ModelCard, to_probabilities

BINS: Final = 10


def evaluate(card: ModelCard, truth: Floats, margin: Floats) -> dict[str, float]:
    """Compute all metrics of a task.

    Args:
        card: says what margins mean.
        truth: values of the target (its own, not their logarithms), or places of labels; of an
            anomaly 1 or 0, not a number where nobody knows.
        margin: predicted.

    Returns:
        Values by name; a metric that is not defined for these rows is not there, and none is where
        what is predicted is no finite number. With more than
        two classes precision, recall, F1 and ROC-AUC are means over the classes. Precision and
        recall of an anomaly are those of the flagged rows, whose scores are `flag_above` or more.
    """
    with np.errstate(over="ignore"):
        predicted = np.exp(margin) if card.log else margin
    if not np.isfinite(predicted).all():
        return {}
    if card.task == "anomaly":
        return anomaly_metrics(truth, predicted, card.flag)
    if card.task == "regression":
        return _regression(truth, predicted)
    return _classification(truth.astype(np.int64), to_probabilities(margin))


def anomaly_metrics(truth: Floats, score: Floats, flag: float) -> dict[str, float]:
    """Metrics of scores by what rows are, as far as it is known.

    Args:
        truth: 1 for what shall be flagged, else 0; not a number where nobody knows.
        score: the higher, the more anomalous.
        flag: share of the rows that is flagged.
    """
    limit = float(np.quantile(score, 1 - flag, method="higher"))
    metrics = {"flag_above": limit}
    known = np.isfinite(truth)
    hit, score = truth[known] == 1, score[known]
    if 0 < hit.sum() < len(hit):
        flagged = score >= limit
        metrics |= {
            "roc_auc": float(sk.roc_auc_score(hit, score)),
            "average_precision": float(sk.average_precision_score(hit, score)),
            "precision": float(sk.precision_score(hit, flagged, zero_division=0)),
            "recall": float(sk.recall_score(hit, flagged)),
        }
    return metrics


def _regression(truth: Floats, predicted: Floats) -> dict[str, float]:
    metrics = {
        "mae": float(sk.mean_absolute_error(truth, predicted)),
        "rmse": float(sk.root_mean_squared_error(truth, predicted)),
    }
    if len(truth) > 1 and np.ptp(truth) > 0:
        metrics["r2"] = float(sk.r2_score(truth, predicted))
    if (truth != 0).all():
        metrics["mape"] = float(sk.mean_absolute_percentage_error(truth, predicted))
    return metrics


def _classification(
    truth: np.ndarray[tuple[int], np.dtype[np.int64]], p: Floats
) -> dict[str, float]:
    classes = p.shape[1]
    chosen = p.argmax(axis=1)
    average = "binary" if classes == 2 else "macro"
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        truth,
        chosen,
        labels=None if classes == 2 else range(classes),
        average=average,
        zero_division=0,
    )
    metrics = {
        "accuracy": float((truth == chosen).mean()),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "log_loss": float(sk.log_loss(truth, p, labels=range(classes))),
        "calibration_error": calibration_error(chosen == truth, p.max(axis=1)),
    }
    if len(np.unique(truth)) == classes:
        scores = p[:, 1] if classes == 2 else p
        metrics["roc_auc"] = float(sk.roc_auc_score(truth, scores, multi_class="ovr"))
    return metrics


def calibration_error(hit: np.ndarray[tuple[int], np.dtype[np.bool_]], p: Floats) -> float:
    """Expected calibration error: mean gap of probability and frequency, in bins of equal width."""
    place = np.minimum((p * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    gaps = np.bincount(place, p, BINS) - np.bincount(place, hit, BINS)
    return float(np.abs(gaps[counts > 0]).sum() / len(p))
