"""Objectives whose margins mean what a family's margins mean: no other has its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from scorestream.infra.errors import TrainingError
from scorestream.tabular.model.families import FitOptions

_TOLD: Final = "its margins are no values or log-odds: give one of"


@dataclass(frozen=True)
class Objectives:
    """A family's objectives by what is learned, the default first.

    Attributes:
        values: of regressions.
        two: of two classes.
        more: of more than two.
    """

    family: str
    values: tuple[str, ...]
    two: tuple[str, ...]
    more: tuple[str, ...]

    def parameters(self, options: FitOptions, fixed: Mapping[str, Any]) -> dict[str, Any]:
        """The library's parameters, with the default objective unless another is given.

        Args:
            learning: with the parameters that are given.
            fixed: those that cannot be given.

        Raises:
            TrainingError: an objective whose margins are no values or log-odds.
        """
        known = self._of(options)
        classes = {"num_class": options.classes} if options.classes > 2 else {}
        merged = {"objective": known[0], **classes, **options.params, **fixed}
        if merged["objective"] not in known:
            problem = f"objective {merged['objective']!r}: {_TOLD} {', '.join(known)}"
            raise TrainingError(f"family {self.family}: {problem}")
        return merged

    def _of(self, options: FitOptions) -> tuple[str, ...]:
        if options.task != "classification":
            return self.values
        return self.two if options.classes == 2 else self.more
