"""Logistic regression, of two classes or more."""

from __future__ import annotations

from sklearn.linear_model import LogisticRegression

from scorestream.infra.errors import TrainingError
from scorestream.tabular.model.families import FitOptions, Floats
from scorestream.tabular.model.families.terms import LinearTerms, scaling, unscale


def fit(x: Floats, y: Floats, options: FitOptions) -> LinearTerms:
    """Learn, with the parameters of scikit-learn's `LogisticRegression`.

    Raises:
        TrainingError: a parameter that it does not know, or rows that lack a class.
    """
    means, scales = scaling(x)
    defaults = {"max_iter": 2000, "random_state": options.seed}
    try:
        model = LogisticRegression(**defaults | dict(options.params))
        model.fit((x - means) / scales, y)
    except (TypeError, ValueError) as error:
        raise TrainingError(f"family logistic: {error}") from None
    if len(model.classes_) < options.classes:
        # One column a class is what its margins are.
        raise TrainingError(
            f"family logistic: rows of {len(model.classes_)} of {options.classes} labels: each "
            "fold needs all: give more rows, or fewer search.folds"
        )
    if options.classes == 2:
        return unscale(means, scales, model.coef_[0], model.intercept_[0])
    return unscale(means, scales, model.coef_, model.intercept_)
