"""The scorers by name, and what they declare together.

A scorer is found where it is put: a module or package in this folder that names its class `SCORER`,
or one that an installed package names as an entry point of the group `scorestream.scorers`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from itertools import combinations
from pkgutil import iter_modules
from typing import Any, Final, Protocol

from scorestream.wallets import scorers
from scorestream.wallets.core.entries import rows_schema
from scorestream.wallets.core.messages import DEXES
from scorestream.wallets.core.scorer import (
    Declaration,
    Feature,
    PartialScore,
    Scorer,
    union_of_features,
    union_of_partial_scores,
)

# What stands beside features and partial scores.
_NAMES_OF_SCORES: Final = ("zscore", "final_score", "transaction_count")
GROUP: Final = "scorestream.scorers"


class ScorerClass(Protocol):
    """The class of a scorer, which makes one of its constants."""

    declaration: Declaration

    @classmethod
    def configure(
        cls, scoring: str, constants: Mapping[str, Any], stable_symbols: frozenset[str]
    ) -> Scorer:
        """Make a scorer.

        Args:
            scoring: the name under which it scores.
            constants: what `conf/scoring/NAME.yaml` holds beside.
            stable_symbols: symbols of stable coins, from the reference data.

        Raises:
            pydantic.ValidationError: constants are missing, unknown or out of range.
        """
        ...


def _find_classes() -> Iterator[ScorerClass]:
    for module in iter_modules(scorers.__path__, f"{scorers.__name__}."):
        if hasattr(found := import_module(module.name), "SCORER"):
            yield found.SCORER
    # In an order that is the same on all machines, as that of columns and messages goes by it.
    for point in sorted(entry_points(group=GROUP)):
        yield point.load()


def by_name(classes: Iterable[ScorerClass]) -> dict[str, ScorerClass]:
    """Scorers by name.

    Raises:
        ValueError: two have the same name, or declare something alike that is not the same.
        TypeError: the transactions that one declares cannot be had.
    """
    found: dict[str, ScorerClass] = {}
    for each in classes:
        name = each.declaration.name
        if found.setdefault(name, each) is not each:
            raise ValueError(f"two scorers are called {name}")
    _check([each.declaration for each in found.values()])
    return found


def _check(declarations: Sequence[Declaration]) -> None:
    for declaration in declarations:
        if (declaration.category == DEXES) != (declaration.transaction is None):
            raise ValueError(
                f"{declaration.name} scores {declaration.category}: only of {DEXES} is known what "
                "a transaction is, all others declare it"
            )
        if declaration.transaction is not None:
            rows_schema(declaration.transaction)
    _refuse_clashes(union_of_features(declarations), union_of_partial_scores(declarations))
    categories = names_by_category(declarations)
    for one, other in combinations(categories, 2):
        if both := categories[one] & categories[other]:
            raise ValueError(f"{', '.join(sorted(both))}: called so for {one} and for {other}")


def _refuse_clashes(features: Iterable[Feature], partial_scores: Iterable[PartialScore]) -> None:
    """Messages and models have features and scores side by side; Delta's names have no case."""
    scores = (each.column for each in partial_scores)
    counts = Counter(
        name.lower() for name in (*(f.name for f in features), *scores, *_NAMES_OF_SCORES)
    )
    clashing = [name for name, count in counts.items() if count > 1]
    if clashing:
        raise ValueError(f"{', '.join(clashing)}: two features or scores are called so")


def names_by_category(declarations: Iterable[Declaration]) -> dict[str, set[str]]:
    """Features and columns of partial scores that belong to each category."""
    names: dict[str, set[str]] = defaultdict(set)
    for declaration in declarations:
        names[declaration.category] |= {feature.name for feature in declaration.features}
        names[declaration.category] |= {each.column for each in declaration.partial_scores}
    return dict(names)


SCORERS: Final = by_name(_find_classes())
DECLARATIONS: Final = tuple(scorer.declaration for scorer in SCORERS.values())
