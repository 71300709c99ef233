"""The scorers by name, and what they declare together.

A scorer is found where it is put: a module or package in this folder that names its class `SCORER`,
or one that an installed package names as an entry point of the group `scorestream.scorers`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from typing import Any, Final, Protocol

from scorestream.wallets import scorers
from scorestream.wallets.core.messages import DEXES
from scorestream.wallets.core.scorer import Declaration, Feature, PartialScore, Scorer

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
    for point in entry_points(group=GROUP):
        yield point.load()


def by_name(classes: Iterable[ScorerClass]) -> dict[str, ScorerClass]:
    """Scorers by name.

    Raises:
        ValueError: two have the same name, or declare something alike that is not the same; or
            one scores another category than `dexes`, which is all that is decoded.
    """
    found: dict[str, ScorerClass] = {}
    for each in classes:
        name = each.declaration.name
        if found.setdefault(name, each) is not each:
            raise ValueError(f"two scorers are called {name}")
    declarations = [each.declaration for each in found.values()]
    for declaration in declarations:
        if declaration.category != DEXES:
            raise ValueError(f"{declaration.name} scores {declaration.category}, not {DEXES}")
    _refuse_clashes(union_of_features(declarations), union_of_partial_scores(declarations))
    return found


def _refuse_clashes(features: Iterable[Feature], partial_scores: Iterable[PartialScore]) -> None:
    """Messages and models have features and scores side by side; Delta's names have no case."""
    scores = (each.column for each in partial_scores)
    counts = Counter(
        name.lower() for name in (*(f.name for f in features), *scores, *_NAMES_OF_SCORES)
    )
    clashing = [name for name, count in counts.items() if count > 1]
    if clashing:
        raise ValueError(f"{', '.join(clashing)}: two features or scores are called so")


def union_of_features(declarations: Iterable[Declaration]) -> tuple[Feature, ...]:
    """All features by name, in the order in which they are first declared.

    Raises:
        ValueError: two have the same name and other types.
    """
    union: dict[str, Feature] = {}
    for declaration in declarations:
        for feature in declaration.features:
            known = union.setdefault(feature.name, feature)
            if known.type != feature.type:
                raise ValueError(
                    f"the feature {feature.name} of {declaration.name} is {feature.type}, of "
                    f"another scorer {known.type}: give it another name"
                )
    return tuple(union.values())


def union_of_partial_scores(declarations: Iterable[Declaration]) -> tuple[PartialScore, ...]:
    """All partial scores by name, each with all parts that it has in any declaration."""
    union: dict[str, PartialScore] = {}
    for declaration in declarations:
        for each in declaration.partial_scores:
            known = union.get(each.name, each)
            union[each.name] = PartialScore(each.name, known.meaning, {**known.parts, **each.parts})
    return tuple(union.values())


SCORERS: Final = by_name(_find_classes())
DECLARATIONS: Final = tuple(scorer.declaration for scorer in SCORERS.values())
