"""A toy scorer of lending, for what holds of scorings of several categories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np
import pyarrow as pa

from scorestream.wallets.core.messages import Timestamp
from scorestream.wallets.core.scorer import (
    Declaration,
    Feature,
    Floats,
    Ints,
    PartialScore,
    WalletScores,
)


class Loan(msgspec.Struct):
    timestamp: Timestamp
    repaid: bool
    usd: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    pool: str | None = None


@dataclass(frozen=True)
class Lending:
    """Points for each loan that was repaid."""

    points_each: float = 10.0
    declaration: ClassVar[Declaration] = Declaration(
        name="lending-v1",
        category="lending",
        features=(
            Feature("num_loans", "loans", pa.int64()),
            Feature("borrowed_usd", "USD borrowed"),
        ),
        partial_scores=(
            PartialScore("repayment", "score of repaying", {"repaid": "loans repaid"}),
        ),
        transaction=Loan,
    )

    @classmethod
    def configure(
        cls, scoring: str, constants: Mapping[str, Any], stable_symbols: frozenset[str]
    ) -> Lending:
        del scoring, stable_symbols
        return cls(**constants)

    @property
    def config_hash(self) -> str:
        return f"lending-{self.points_each}"

    def score(self, rows: pa.Table, as_of: Ints) -> WalletScores:
        wallet, repaid, usd = (np.asarray(rows[name]) for name in ("message", "repaid", "usd"))
        points: Floats = np.bincount(wallet, self.points_each * repaid, len(as_of)).astype(float)
        return WalletScores(
            final=points,
            partial={"repayment": points},
            parts={"repayment": {"repaid": points}},
            features={
                "num_loans": np.bincount(wallet, minlength=len(as_of)),
                "borrowed_usd": np.bincount(wallet, usd, minlength=len(as_of)),
            },
            tags=pa.array([["Borrower"]] * len(as_of), pa.list_(pa.string())),
        )
