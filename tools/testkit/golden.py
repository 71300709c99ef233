"""The golden wallets: messages with what the reference model gives for them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.infra.kafka.producer import Record
from scorestream.wallets.core import schemas
from scorestream.wallets.core.pipeline import Scored
from scorestream.wallets.core.score_columns import score_schema
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.execution.configured_scoring import load_scoring
from scorestream.wallets.scorers.dex_v1.scorer import DexV1
from tools.local.samples import sample_records

GOLDEN_FILE: Final = Path(__file__).parent / "data" / "golden_wallets.jsonl"
RELATIVE: Final = 1e-9
# What a score is, apart from when, by whom and whence it was made.
SCORED_COLUMNS: Final = (
    "wallet_address",
    "as_of",
    "transaction_count",
    *dict(schemas.TRANSACTION_TIMES),
    *score_schema([DexV1.declaration]).names,
    "models",
    "scoring",
    "config_hash",
)


@dataclass(frozen=True)
class Golden:
    """One golden wallet."""

    as_of: int
    message: dict[str, Any]
    expected: dict[str, Any]

    @property
    def value(self) -> bytes:
        return json.dumps(self.message).encode()

    @property
    def wallet(self) -> str:
        return str(self.message["wallet_address"])


@cache
def configured_scoring(conf: Path = PROJECT_ROOT / "conf") -> Scoring:
    """`dex-v1` as it is configured in a folder."""
    return load_scoring(conf=conf)


def configured_dex_v1() -> DexV1:
    """Its scorer."""
    [scorer] = configured_scoring().scorers
    assert isinstance(scorer, DexV1)
    return scorer


def golden_wallets() -> list[Golden]:
    with GOLDEN_FILE.open(encoding="utf-8") as lines:
        return [Golden(**json.loads(line)) for line in lines]


def differences(score: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """What of a score (a row of `scores`, or as the core gives it) is not as expected, by name."""
    pairs = {f"features.{k}": (score["features"][k], v) for k, v in expected["features"].items()}
    for part in ("lp", "swap"):
        values = expected[part].items()
        pairs |= {f"{part}.{k}": (score["breakdown"][part][k], v) for k, v in values}
    for name in ("lp_score", "swap_score", "final_score"):
        pairs[name] = (score[name], expected[name])
    pairs["zscore"] = (float(score["zscore"]), float(expected["zscore"]))
    wrong = [f"{k}: {a!r}, not {b!r}" for k, (a, b) in pairs.items() if not _close(a, b)]
    if list(score["tags"]) != expected["tags"]:
        wrong.append(f"tags: {score['tags']}, not {expected['tags']}")
    if str(score["zscore"]) != f"{score['final_score']:.18f}":
        wrong.append(f"zscore {score['zscore']} is not the final score's decimal expansion")
    return wrong


def results(scored: Scored) -> list[dict[str, Any]]:
    """What the core gives, a dictionary a message, in the order of the messages."""
    rows: dict[int, dict[str, Any]] = {}
    for row in scored.scores.to_pylist():
        position = row.pop("position")
        rows[position] = row | {"transactions": []}
    for row in scored.rejects.to_pylist():
        position = row.pop("position")
        rows[position] = row
    history = [] if scored.transactions is None else scored.transactions.to_pylist()
    for row in history:
        rows[row.pop("position")].setdefault("transactions", []).append(row)
    return [rows[position] for position in range(len(rows))]


def _close(actual: float, expected: float) -> bool:
    return math.isclose(actual, expected, rel_tol=RELATIVE, abs_tol=1e-12)


def golden_records() -> list[Record]:
    """The golden messages as they would come from Kafka."""
    return [Record(g.wallet.encode(), g.value, g.as_of * 1000) for g in golden_wallets()]


def broken_records() -> list[Record]:
    """Messages that cannot be scored, 10 MB of nonsense among them."""
    samples = list(sample_records(["broken_messages.jsonl"]))
    return [*samples, Record(b"big", b"\x00nonsense" * 1_100_000, 1_600_000_000_000)]
