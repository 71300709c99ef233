"""Generated wallets as the history that examples are made of, without Spark."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from scorestream.wallets.core.history import WalletHistory, wallet_history
from scorestream.wallets.datasets.generated.behaviours import Histories, draw_histories
from scorestream.wallets.datasets.generated.histories import ROWS, Row, stored_rows

DAY: Final = 86_400
UNTIL: Final = 1_767_225_600
DAYS: Final = 180


def generate_histories(wallets: int, seed: int) -> Histories:
    return draw_histories(wallets, DAYS, UNTIL, seed)


def rows_of(histories: Histories) -> list[Row]:
    return stored_rows(histories, UNTIL)


def history_of(rows: list[Row]) -> WalletHistory:
    return wallet_history(pa.Table.from_pylist(rows, ROWS))
