"""A scoring: what `--scoring` names, and what rows and messages carry the name of."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from scorestream.wallets.core.scorer import Declaration, Ints, Scorer, WalletScores


@dataclass(frozen=True)
class Scoring:
    """A scorer with its constants; entries of other categories are ignored.

    Attributes:
        name: as scores carry it.
        scorer: what scores.
    """

    name: str
    scorer: Scorer

    @property
    def declaration(self) -> Declaration:
        """What its scores consist of."""
        return self.scorer.declaration

    @property
    def config_hash(self) -> str:
        """Hash of all constants, as scores carry it."""
        return self.scorer.config_hash

    def score(self, rows: pa.Table, as_of: Ints) -> WalletScores:
        """Score the wallets of a batch; see :meth:`Scorer.score`."""
        return self.scorer.score(rows, as_of)

    def label(self, rows: pa.Table) -> pa.Table:
        """Rows with the columns `scoring` and `config_hash`, which say what made them."""
        for name, text in (("scoring", self.name), ("config_hash", self.config_hash)):
            rows = rows.append_column(name, pa.repeat(text, len(rows)))
        return rows
