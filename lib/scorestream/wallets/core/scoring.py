"""A scoring: what `--scoring` names, and what rows and messages carry the name of."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from scorestream.wallets.core.scorer import Declaration, EntryType, Scorer


@dataclass(frozen=True)
class Weighted:
    """A scorer, and how much its score weighs beside those of other categories."""

    scorer: Scorer
    weight: float = 1.0


@dataclass(frozen=True)
class Scoring:
    """One scorer for each category; entries of other categories are ignored.

    The score of a wallet is the mean of its categories' scores by their weights; a category that a
    message does not have has none.

    Attributes:
        name: as scores carry it.
        weighted_scorers: one for each category, in the order of messages.
    """

    name: str
    weighted_scorers: tuple[Weighted, ...]

    @classmethod
    def of(cls, name: str, scorer: Scorer) -> Scoring:
        """The scoring of one category."""
        return cls(name, (Weighted(scorer),))

    @property
    def scorers(self) -> tuple[Scorer, ...]:
        """The scorers, one for each category."""
        return tuple(part.scorer for part in self.weighted_scorers)

    @property
    def declarations(self) -> tuple[Declaration, ...]:
        """What its scores consist of."""
        return tuple(scorer.declaration for scorer in self.scorers)

    @property
    def config_hash(self) -> str:
        """Hash of all constants, as scores carry it: of one category, that of its scorer."""
        if len(self.weighted_scorers) == 1:
            return self.scorers[0].config_hash
        texts = (
            f"{p.scorer.declaration.category} {p.scorer.config_hash} {p.weight!r}"
            for p in self.weighted_scorers
        )
        return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


# What a run scores with: the first is the one whose scores registered models see.
Scorings = tuple[Scoring, ...]


def declarations_of(scorings: Scorings) -> tuple[Declaration, ...]:
    """What the scores of all scorings consist of."""
    return tuple(declaration for scoring in scorings for declaration in scoring.declarations)


def entry_types_of(scorings: Scorings) -> tuple[EntryType, ...]:
    """The entries of messages that are decoded, each once."""
    return tuple(dict.fromkeys(each.entry_type for each in declarations_of(scorings)))
