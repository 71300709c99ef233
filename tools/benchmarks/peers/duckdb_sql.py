"""DuckDB, SQL only: `read_json`, `unnest`, a window function and one aggregation."""

from __future__ import annotations

import time
from typing import Final

import duckdb

from scorestream.wallets.scorers.dex_v1.config import FEATURE_NAMES, DexV1Config
from tools.benchmarks.peers import THREADS, FileCase
from tools.benchmarks.peers.formulas import derived_features, final_score
from tools.benchmarks.peers.process import main
from tools.benchmarks.peers.scoring import constants
from tools.benchmarks.workload import AS_OF

# Messages may have 16 MiB, the default: more makes the buffers larger, and costs a tenth.
AGGREGATES: Final = """
WITH entries AS (
    SELECT wallet_address, unnest(data) AS entry
    FROM read_json(
        getvariable('path'),
        format = 'newline_delimited',
        columns = {
            wallet_address: 'VARCHAR',
            data: 'STRUCT(protocolType VARCHAR, transactions STRUCT(
                action VARCHAR, timestamp BIGINT, poolId VARCHAR,
                tokenIn STRUCT(amountUSD DOUBLE, symbol VARCHAR),
                tokenOut STRUCT(amountUSD DOUBLE, symbol VARCHAR),
                token0 STRUCT(amountUSD DOUBLE, symbol VARCHAR),
                token1 STRUCT(amountUSD DOUBLE, symbol VARCHAR)
            )[])[]'
        }
    )
), transactions AS (
    SELECT wallet_address, unnest(entry.transactions) AS t
    FROM entries
    WHERE entry.protocolType = 'dexes'
), valued AS (
    SELECT
        wallet_address,
        t.action AS action,
        t.timestamp AS timestamp,
        t.poolId AS pool,
        t.tokenIn.symbol AS symbol_in,
        t.tokenOut.symbol AS symbol_out,
        CASE t.action
            WHEN 'swap' THEN greatest(t.tokenIn.amountUSD, t.tokenOut.amountUSD)
            ELSE coalesce(t.token0.amountUSD, 0) + coalesce(t.token1.amountUSD, 0)
        END AS usd,
        min(t.timestamp) FILTER (t.action = 'withdraw') OVER (
            PARTITION BY wallet_address
            ORDER BY t.timestamp
            RANGE BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
        ) AS exit
    FROM transactions
), aggregates AS (
    SELECT
        wallet_address,
        coalesce(sum(usd) FILTER (action = 'deposit'), 0) AS total_deposit_usd,
        coalesce(sum(usd) FILTER (action = 'withdraw'), 0) AS total_withdraw_usd,
        count(*) FILTER (action = 'deposit') AS num_deposits,
        count(*) FILTER (action = 'withdraw') AS num_withdraws,
        sum(coalesce(exit, getvariable('as_of')) - timestamp)
            FILTER (action = 'deposit') AS held_seconds,
        max(timestamp) - min(timestamp) AS span_seconds,
        count(DISTINCT pool) AS unique_pools,
        coalesce(sum(usd) FILTER (action = 'swap'), 0) AS total_swap_volume,
        count(*) FILTER (action = 'swap') AS num_swaps,
        max(timestamp) FILTER (action = 'swap') - min(timestamp) FILTER (action = 'swap')
            AS swap_span_seconds,
        count(DISTINCT pool) FILTER (action = 'swap') AS unique_pools_swapped,
        list_distinct(list_concat(
            list(DISTINCT symbol_in) FILTER (action = 'swap'),
            list(DISTINCT symbol_out) FILTER (action = 'swap')
        )) AS symbols
    FROM valued
    GROUP BY wallet_address
)
SELECT
    *,
    coalesce(len(list_intersect(symbols, getvariable('stable'))), 0) AS stable_symbols,
    coalesce(len(symbols), 0) - stable_symbols AS other_symbols
FROM aggregates
"""


def run(case: FileCase) -> float:
    """Seconds from opening the database until the Parquet file is written."""
    config = constants()
    began = time.perf_counter()
    with duckdb.connect(config={"threads": THREADS}) as connection:
        _set_variables(connection, case, config)
        _scores(connection, config).write_parquet(str(case.scores))
    return time.perf_counter() - began


def _set_variables(
    connection: duckdb.DuckDBPyConnection, case: FileCase, config: DexV1Config
) -> None:
    connection.execute("SET VARIABLE path = ?", [str(case.path)])
    connection.execute("SET VARIABLE as_of = ?", [AS_OF])
    connection.execute("SET VARIABLE stable = ?", [sorted(config.stable_symbols)])


def _scores(connection: duckdb.DuckDBPyConnection, config: DexV1Config) -> duckdb.DuckDBPyRelation:
    derived = [f"{text} AS {name}" for name, text in derived_features(config).items()]
    features = ", ".join(f"{name} := {name}" for name in FEATURE_NAMES)
    return (
        connection.sql(AGGREGATES)
        .project(", ".join(["*", *derived]))
        .project(
            f"wallet_address, {final_score(config)} AS final_score, "
            f"struct_pack({features}) AS features"
        )
    )


if __name__ == "__main__":
    main(run, FileCase)
