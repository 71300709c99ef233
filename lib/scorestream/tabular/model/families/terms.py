"""Linear models as they are kept and applied: means, coefficients, an intercept; as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from scorestream.tabular.model.families import Floats

_FILE: Final = "terms.json"


@dataclass(frozen=True)
class LinearTerms:
    """A linear model; with more than two classes one row of coefficients a class.

    Attributes:
        means: of the columns in the rows of its training.
        coefficients: columns, or classes x columns.
        intercept: margin of a row of zeros; with more than two classes one a class.
    """

    means: list[float]
    coefficients: list[float] | list[list[float]]
    intercept: float | list[float]

    def margin(self, x: Floats) -> Floats:
        """Margins of encoded rows."""
        return np.asarray(x @ np.array(self.coefficients).T + np.array(self.intercept))

    def contributions(self, x: Floats) -> Floats:
        """What each column adds to the margin of an average row, and that margin."""
        coefficients, means = np.array(self.coefficients), np.array(self.means)
        centred = x - means
        parts = (
            centred[:, None, :] * coefficients if coefficients.ndim > 1 else centred * coefficients
        )
        start = coefficients @ means + np.array(self.intercept)
        starts = np.broadcast_to(np.asarray(start)[..., None], (*parts.shape[:-1], 1))
        return np.concatenate([parts, starts], axis=-1)

    def save(self, folder: Path) -> None:
        """Write it into an existing folder."""
        (folder / _FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")


def load(folder: Path) -> LinearTerms:
    """Read a model."""
    return LinearTerms(**json.loads((folder / _FILE).read_text(encoding="utf-8")))


def scaling(x: Floats) -> tuple[Floats, Floats]:
    """Means and deviations of columns; solvers are at ease, and penalties fair, between them."""
    scales = x.std(axis=0)
    return x.mean(axis=0), np.where(scales > 0, scales, 1.0)


def unscale(means: Floats, scales: Floats, coefficients: Floats, intercept: Floats) -> LinearTerms:
    """The model of the columns as they are, from that of columns less mean, by deviation."""
    own = coefficients / scales
    return LinearTerms(means.tolist(), own.tolist(), (intercept - own @ means).tolist())
