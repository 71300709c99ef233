"""One process, confluent-kafka, `json.loads` and pandas: a data frame a wallet."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, Final

import pandas as pd
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from scorestream.wallets.scorers.dex_v1.config import ActivityPoints, DexV1Config, TokenPoints
from tools.benchmarks.peers import StreamCase
from tools.benchmarks.peers.process import main
from tools.benchmarks.peers.scoring import constants

DAY_SECONDS: Final = 86_400
COLUMNS: Final = (
    "action",
    "timestamp",
    "poolId",
    *(
        f"{leg}.{field}"
        for leg in ("token0", "token1", "tokenIn", "tokenOut")
        for field in ("amountUSD", "symbol")
    ),
)


def run(case: StreamCase) -> float:
    """Seconds from connecting until all scores are acknowledged."""
    config = constants()
    began = time.perf_counter()
    producer = Producer(
        {
            "bootstrap.servers": case.bootstrap_servers,
            "enable.idempotence": True,
            "compression.type": "lz4",
        }
    )
    for message in _messages(case):
        result = _result(message, config)
        producer.produce(case.success_topic, json.dumps(result).encode(), message.key())
        producer.poll(0)
    if producer.flush(60) > 0:
        raise TimeoutError(f"{len(producer)} scores are not acknowledged")
    return time.perf_counter() - began


def _messages(case: StreamCase) -> Iterator[Message]:
    consumer = Consumer({"bootstrap.servers": case.bootstrap_servers, "group.id": "pandas"})
    consumer.assign([TopicPartition(case.topic, p, 0) for p in range(case.partitions)])
    left = case.count
    while left:
        for message in consumer.consume(min(left, 500), timeout=0.1):
            if message.error() is not None:
                raise KafkaException(message.error())
            yield message
            left -= 1
    consumer.close()


def _result(message: Message, config: DexV1Config) -> dict[str, Any]:
    content = json.loads(message.value() or b"")
    transactions = [
        transaction
        for entry in content["data"]
        if entry["protocolType"] == "dexes"
        for transaction in entry["transactions"]
    ]
    features = _features(transactions, message.timestamp()[1] // 1000, config)
    return {
        "wallet_address": content["wallet_address"],
        "final_score": _final_score(features, config),
        "features": features,
    }


def _features(
    transactions: list[dict[str, Any]], as_of: int, config: DexV1Config
) -> dict[str, float]:
    # A wallet need not have every action, and so not every leg.
    frame = pd.json_normalize(transactions).reindex(columns=COLUMNS)
    deposits, withdraws, swaps = (
        frame[frame["action"] == action].sort_values("timestamp")
        for action in ("deposit", "withdraw", "swap")
    )
    return {
        **_deposit_features(deposits, withdraws, as_of),
        "account_age_days": float(frame["timestamp"].max() - frame["timestamp"].min())
        / DAY_SECONDS,
        "unique_pools": int(frame["poolId"].nunique()),
        **_swap_features(swaps, config),
    }


def _deposit_features(
    deposits: pd.DataFrame, withdraws: pd.DataFrame, as_of: int
) -> dict[str, float]:
    deposited, withdrawn = (
        float(rows[["token0.amountUSD", "token1.amountUSD"]].sum(axis=1).sum())
        for rows in (deposits, withdraws)
    )
    return {
        "total_deposit_usd": deposited,
        "total_withdraw_usd": withdrawn,
        "num_deposits": len(deposits),
        "num_withdraws": len(withdraws),
        "withdraw_ratio": withdrawn / deposited if deposited else 0.0,
        "avg_hold_time_days": _mean_hold_days(deposits, withdraws, as_of),
    }


def _mean_hold_days(deposits: pd.DataFrame, withdraws: pd.DataFrame, as_of: int) -> float:
    if deposits.empty:
        return 0.0
    held = pd.merge_asof(
        deposits[["timestamp"]],
        withdraws[["timestamp"]].assign(end=withdraws["timestamp"]),
        on="timestamp",
        direction="forward",
        allow_exact_matches=False,
    )
    return float((held["end"].fillna(as_of) - held["timestamp"]).mean() / DAY_SECONDS)


def _swap_features(swaps: pd.DataFrame, config: DexV1Config) -> dict[str, float]:
    volume = float(swaps[["tokenIn.amountUSD", "tokenOut.amountUSD"]].max(axis=1).sum())
    return {
        "total_swap_volume": volume,
        "num_swaps": len(swaps),
        "unique_pools_swapped": int(swaps["poolId"].nunique()),
        "avg_swap_size": volume / len(swaps) if len(swaps) else 0.0,
        "token_diversity_score": _token_points(swaps, config.stable_symbols, config.swap.tokens),
        "swap_frequency_score": _activity_points(swaps, config.swap.activity),
    }


def _token_points(swaps: pd.DataFrame, stable: frozenset[str], points: TokenPoints) -> float:
    symbols = pd.concat([swaps["tokenIn.symbol"], swaps["tokenOut.symbol"]]).dropna().unique()
    each = (points.stable if symbol in stable else points.volatile for symbol in symbols)
    return min(sum(each), points.limit)


def _activity_points(swaps: pd.DataFrame, points: ActivityPoints) -> float:
    if len(swaps) < 2:
        return 0.0
    hours = swaps["timestamp"].diff().mean() / 3600
    reached = (step.points for step in points.steps if hours <= step.hours)
    return next(reached, points.slower)


def _final_score(features: dict[str, float], config: DexV1Config) -> float:
    lp, swap = config.lp, config.swap
    lp_score = (
        min(features["total_deposit_usd"] / lp.volume.full_at * lp.volume.points, lp.volume.points)
        + min(features["num_deposits"] * lp.frequency.points_each, lp.frequency.limit)
        + max(0.0, (1 - features["withdraw_ratio"]) * lp.retention.points)
        + min(
            features["avg_hold_time_days"] / lp.holding.full_at * lp.holding.points,
            lp.holding.points,
        )
        + min(features["unique_pools"] * lp.diversity.points_each, lp.diversity.limit)
    )
    swap_score = (
        min(
            features["total_swap_volume"] / swap.volume.full_at * swap.volume.points,
            swap.volume.points,
        )
        + min(features["num_swaps"] * swap.frequency.points_each, swap.frequency.limit)
        + features["token_diversity_score"]
        + features["swap_frequency_score"]
        + min(features["unique_pools_swapped"] * swap.pools.points_each, swap.pools.limit)
    )
    return config.final.lp_weight * lp_score + config.final.swap_weight * swap_score


if __name__ == "__main__":
    main(run, StreamCase)
