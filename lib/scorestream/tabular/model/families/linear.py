"""Linear regression: least squares or ridge; `positive` keeps coefficients from below 0."""

from __future__ import annotations

from typing import Final

from sklearn.linear_model import LinearRegression, Ridge

from scorestream.infra.errors import TrainingError
from scorestream.tabular.model.families import FitOptions, Floats
from scorestream.tabular.model.families.terms import LinearTerms, scaling, unscale

_PARAMS: Final = frozenset({"alpha", "positive"})


def fit(x: Floats, y: Floats, options: FitOptions) -> LinearTerms:
    """Learn; `alpha` 0, the default, is ordinary least squares, above it counts scaled columns.

    Raises:
        TrainingError: a parameter that it does not know, or refuses.
    """
    unknown = sorted(options.params.keys() - _PARAMS)
    if unknown:
        raise TrainingError(f"family linear: no parameter {unknown[0]}; it has alpha, positive")
    alpha, positive = options.params.get("alpha", 0), options.params.get("positive", False)
    model = Ridge(alpha, positive=positive) if alpha else LinearRegression(positive=positive)
    means, scales = scaling(x)
    try:
        model.fit((x - means) / scales, y, sample_weight=options.weights)
    except (TypeError, ValueError) as error:
        raise TrainingError(f"family linear: {error}") from None
    return unscale(means, scales, model.coef_, model.intercept_)
