"""Logistic regression, of two classes or more."""

from __future__ import annotations

from sklearn.linear_model import LogisticRegression

from scorestream.infra.errors import TrainingError
from scorestream.tabular.model.families import Floats, Learning
from scorestream.tabular.model.families.terms import LinearTerms, scaling, unscaled


def fit(x: Floats, y: Floats, learning: Learning) -> LinearTerms:
    """Learn, with the parameters of scikit-learn's `LogisticRegression`.

    Raises:
        TrainingError: a parameter that it does not know, or rows that lack a class.
    """
    means, scales = scaling(x)
    defaults = {"max_iter": 2000, "random_state": learning.seed}
    try:
        model = LogisticRegression(**defaults | dict(learning.params))
        model.fit((x - means) / scales, y)
    except (TypeError, ValueError) as error:
        raise TrainingError(f"family logistic: {error}") from None
    if len(model.classes_) < learning.classes:
        # One column a class is what its margins are.
        raise TrainingError(
            f"family logistic: rows of {len(model.classes_)} of {learning.classes} labels: each "
            "fold needs all: give more rows, or fewer search.folds"
        )
    if learning.classes == 2:
        return unscaled(means, scales, model.coef_[0], model.intercept_[0])
    return unscaled(means, scales, model.coef_, model.intercept_)
