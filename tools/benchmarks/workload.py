"""The seeded workload: wallet messages of realistic sizes, the same bytes for the same seed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from scorestream.infra.kafka.producer import Record

AS_OF: Final = 1_700_000_000
YEAR_SECONDS: Final = 365 * 86_400
WHALE_TRANSACTIONS: Final = 50_000
_ACTIONS: Final = ("swap", "deposit", "withdraw", "collect")
_SHARES: Final = (0.70, 0.16, 0.11, 0.03)
_PROTOCOLS: Final = ("uniswap_v2", "UniswapV3Pool", "sushiswap", "BPool", "curve")
_SYMBOLS: Final = ("WETH", "USDC", "USDT", "DAI", "WBTC", "UNI", "LINK", "AAVE", "MKR", "SNX")
_LEGS: Final = {"swap": ("tokenIn", "tokenOut")}
_LP_LEGS: Final = ("token0", "token1")


@dataclass(frozen=True)
class Workload:
    """What to generate.

    Attributes:
        messages: how many.
        mean_transactions: mean of the log-normal number of transactions, before it is cut off.
        limit: most transactions of an ordinary wallet.
        corrupt: share of messages cut off in the middle, evenly spread.
        whales: messages of 50 000 transactions (24 MB) among them.
        seed: the same seed gives the same bytes.
    """

    messages: int
    mean_transactions: float = 38.0
    limit: int = 800
    corrupt: float = 0.0
    whales: int = 0
    seed: int = 2026

    def records(self) -> list[Record]:
        """The messages as Kafka records."""
        return list(self._records())

    def _records(self) -> Iterator[Record]:
        random = np.random.default_rng(self.seed)
        counts = self._counts(random)
        interval = round(1 / self.corrupt) if self.corrupt else 0
        for number, count in enumerate(counts):
            wallet = f"0x{random.bytes(20).hex()}"
            value = json.dumps(_message(random, wallet, int(count)), separators=(",", ":")).encode()
            if interval and number % interval == interval - 1:
                value = value[: len(value) // 2]
            yield Record(wallet.encode(), value, AS_OF * 1000)

    def _counts(self, random: np.random.Generator) -> np.ndarray[Any, np.dtype[np.int64]]:
        spread = 1.2
        drawn = random.lognormal(
            np.log(self.mean_transactions) - spread**2 / 2, spread, self.messages
        )
        counts = np.clip(np.rint(drawn), 1, self.limit).astype(np.int64)
        counts[: self.whales] = WHALE_TRANSACTIONS
        return counts


def _message(random: np.random.Generator, wallet: str, count: int) -> dict[str, Any]:
    actions = random.choice(len(_ACTIONS), count, p=_SHARES).tolist()
    times = (AS_OF - random.integers(0, YEAR_SECONDS, count)).tolist()
    amounts = random.lognormal(6, 2, (count, 2)).round(2).tolist()
    units = random.integers(10**6, 2**63 - 1, (count, 2)).tolist()
    symbols = random.choice(len(_SYMBOLS), (count, 2)).tolist()
    pools = random.integers(0, 40, count).tolist()
    hashes = random.bytes(32 * count).hex()
    rows = []
    for i, action in enumerate(_ACTIONS[a] for a in actions):
        legs = {
            name: {
                "amount": units[i][leg],
                "amountUSD": amounts[i][leg],
                "address": f"0x{symbols[i][leg]:040x}",
                "symbol": _SYMBOLS[symbols[i][leg]],
            }
            for leg, name in enumerate(_LEGS.get(action, _LP_LEGS))
        }
        rows.append(
            {
                "document_id": f"0x{hashes[64 * i : 64 * i + 64]}",
                "action": action,
                "timestamp": times[i],
                "caller": wallet,
                "protocol": _PROTOCOLS[pools[i] % len(_PROTOCOLS)],
                "poolId": f"0x{pools[i]:040x}",
                "poolName": "/".join(leg["symbol"] for leg in legs.values()),
                **legs,
            }
        )
    return {"wallet_address": wallet, "data": [{"protocolType": "dexes", "transactions": rows}]}
