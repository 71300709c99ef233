"""A scorer that some messages are the death of, in a module that Spark's workers can be given."""

from __future__ import annotations

import os
import signal
from typing import Final

from scorestream.infra.kafka.producer import Record
from scorestream.wallets.scorers.dex_v1.scorer import DexV1

_SWAP: Final = b'{"document_id": "0", "action": "swap", "timestamp": 0, "poolId": "the end"}'
_ENTRY: Final = b'{"protocolType": "dexes", "transactions": [' + _SWAP + b"]}"
POISON: Final = Record(None, b'{"wallet_address": "0xDead", "data": [' + _ENTRY + b"]}", 1000)


class Mortal(DexV1):
    """Scores as `dex-v1` does, and dies of a wallet whose swaps are of no pool."""

    def score(self, rows, as_of):  # type: ignore[no-untyped-def]
        if "the end" in rows["pool_id"].to_pylist():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().score(rows, as_of)
