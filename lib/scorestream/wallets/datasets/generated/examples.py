"""Examples of generated wallets, made in this process: nothing is stored, nothing is started."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from scorestream.wallets.core.history import wallet_history
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.datasets.cutoffs import Cutoffs, build_examples
from scorestream.wallets.datasets.generated.behaviours import draw_histories
from scorestream.wallets.datasets.generated.histories import ROWS, stored_rows


@dataclass(frozen=True)
class Drawing:
    """What is drawn.

    Attributes:
        wallets: how many.
        days: time that their histories span.
        until: unix seconds of its end.
        seed: of all that is random.
    """

    wallets: int
    days: int
    until: int
    seed: int


def drawn_examples(drawing: Drawing, cutoffs: Cutoffs, scoring: Scoring) -> pa.Table:
    """Rows of `EXAMPLES` for generated wallets, what they are among them."""
    histories = draw_histories(drawing.wallets, drawing.days, drawing.until, drawing.seed)
    rows = pa.Table.from_pylist(stored_rows(histories, drawing.until), ROWS)
    return build_examples(wallet_history(rows), cutoffs, scoring)
