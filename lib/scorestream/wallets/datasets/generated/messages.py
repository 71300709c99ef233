"""`generate_wallets`: made-up histories as messages, and beside them what the wallets are."""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import numpy as np

from scorestream.infra.errors import InputError
from scorestream.wallets.core.messages import DEXES
from scorestream.wallets.datasets.generated.behaviours import (
    ACTIONS,
    POOLS,
    SWAP,
    Histories,
    draw_histories,
)

TRUTH: Final = ("wallet_address", "behaviour")
_QUOTES: Final = ("WETH", "USDC", "USDT", "DAI")
_BASES: Final = ("WBTC", "UNI", "LINK", "AAVE", "CRV", "LDO", "FRAX", "MKR", "SNX", "LUSD")
_PROTOCOLS: Final = ("uniswap_v2", "uniswap_v3", "sushiswap", "curve")
# All made-up tokens have six decimals and cost a dollar.
_UNITS: Final = 1_000_000
_LEGS: Final = (("tokenIn", "tokenOut"), ("token0", "token1"), ("token0", "token1"))
_OTHER_TOKENS: Final = 30
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class GenerateOptions:
    """Options of a generation, as the command line gives them.

    Attributes:
        days: that the histories span.
        until: unix seconds of their end, the moment that every message speaks of.
        output: `.jsonl` or `.jsonl.gz`.
    """

    wallets: int
    days: int
    seed: int
    until: int
    output: str


def generate_wallets(options: GenerateOptions) -> None:
    """Write one message a wallet, lines `{as_of, message}` as in `samples/`, and the truth.

    The truth is a CSV of the same name, `.truth.csv`: what each wallet is.

    Raises:
        InputError: the files cannot be written.
    """
    histories = draw_histories(options.wallets, options.days, options.until, options.seed)
    addresses = [_address(options.seed, number) for number in range(options.wallets)]
    truth = truth_path(options.output)
    try:
        with _opened(options.output) as file:
            for message in messages_of(histories, addresses):
                file.write(_encode({"as_of": options.until, "message": message}) + b"\n")
        with truth.open("w", newline="", encoding="utf-8") as table:
            writer = csv.writer(table, lineterminator="\n")
            writer.writerows([TRUTH, *zip(addresses, histories.behaviours, strict=True)])
    except OSError as error:
        raise InputError(f"--output {options.output}: cannot be written: {error}") from None
    rows = histories.rows.num_rows
    print(f"{options.wallets:,} wallets, {rows:,} transactions: {options.output}; truth: {truth}")


def truth_path(output: str) -> Path:
    """Where the truth of generated wallets is."""
    return Path(output.removesuffix(".gz").removesuffix(".jsonl") + ".truth.csv")


def messages_of(histories: Histories, addresses: list[str]) -> Iterator[dict[str, Any]]:
    """The message of each wallet, with all of its transactions."""
    names = [name for name in histories.rows.column_names if name != "wallet"]
    columns = [histories.rows[name].to_pylist() for name in names]
    transactions = list(zip(*columns, strict=True))
    wallet = np.asarray(histories.rows["wallet"])
    bounds = np.searchsorted(wallet, np.arange(len(addresses) + 1)).tolist()
    for number, address in enumerate(addresses):
        rows = transactions[bounds[number] : bounds[number + 1]]
        found = [
            _transaction(address, place, **dict(zip(names, row, strict=True)))
            for place, row in enumerate(rows)
        ]
        data = [{"protocolType": DEXES, "transactions": found}]
        yield {"wallet_address": address, "data": data}


def _transaction(
    address: str, place: int, *, timestamp: int, action: int, pool: int, usd: float, back: bool
) -> dict[str, Any]:
    """A transaction; every tenth pool has no price for its second token."""
    first, second = _tokens(pool)
    shares = (usd, usd) if action == SWAP else (usd / 2, usd / 2)
    legs = [_leg(first, shares[0]), _leg(second, 0.0 if pool % 10 == 9 else shares[1])]
    if action == SWAP and back:
        legs.reverse()
    return {
        "document_id": f"{address}:{place}",
        "action": ACTIONS[action],
        "timestamp": timestamp,
        "caller": address,
        "protocol": _PROTOCOLS[pool % len(_PROTOCOLS)],
        "poolId": f"0x{pool + 1:040x}",
        "poolName": f"{first}/{second}",
        **dict(zip(_LEGS[action], legs, strict=True)),
    }


def _leg(symbol: str, usd: float) -> dict[str, Any]:
    address = f"0x{hashlib.sha256(symbol.encode()).hexdigest()[:40]}"
    return {"amount": round(usd * _UNITS), "amountUSD": usd, "address": address, "symbol": symbol}


def _tokens(pool: int) -> tuple[str, str]:
    """The two tokens of a pool; those of rarely used pools are rare, too."""
    names = [*_BASES, *(f"TOKEN{number}" for number in range(_OTHER_TOKENS))]
    return _QUOTES[pool % len(_QUOTES)], names[pool * len(names) // POOLS]


def _address(seed: int, number: int) -> str:
    return f"0x{hashlib.sha256(f'{seed}/{number}'.encode()).hexdigest()[:40]}"


def _opened(path: str) -> IO[bytes] | gzip.GzipFile:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if path.endswith(".gz"):
        # Without the time of writing: the same seed gives the same bytes.
        return gzip.GzipFile(path, "wb", mtime=0, compresslevel=6)
    return Path(path).open("wb")
