"""Scores over any DataFrame, batch or streaming: the core of the jobs as Arrow UDFs of Spark.

They need no warehouse, no broker, no RDD and nothing of the driver's JVM, so that they run on Spark
Connect, too. Workers need this library: its bare package with the extra `spark`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import types as T
from pyspark.sql.pandas.functions import ArrowUDFType, arrow_udf
from pyspark.sql.pandas.types import from_arrow_schema

from scorestream.infra.errors import InputError
from scorestream.infra.kafka.records import Records
from scorestream.infra.times import FIRST_MOMENT, MAX_SECONDS
from scorestream.wallets.core.history import fixed_moments, score_moments
from scorestream.wallets.core.pipeline import Scored, reject_rows
from scorestream.wallets.core.score_columns import scored_schema
from scorestream.wallets.core.scoring import Scoring, Scorings, declarations_of
from scorestream.wallets.execution.configured_scoring import load_scoring, refuse_other_categories
from scorestream.wallets.execution.scoring_task import score_records
from scorestream.wallets.execution.transaction_tables import exploded_rows, mapping_of
from scorestream.wallets.execution.wallet_rows import (
    check_rows,
    external_history,
    gather_wallets,
)

# Messages are decoded in parts of so many bytes, whatever Spark's batches hold.
PART_BYTES: Final = 8 * 1024 * 1024
_ERRORS: Final = ("error_code", "error")
_TEXTS: Final = (
    *(pa.types.is_binary, pa.types.is_large_binary),
    *(pa.types.is_string, pa.types.is_large_string),
)


def result_schema(*scorings: Scoring) -> pa.Schema:
    """The columns of a result, in Arrow's types: of a score, or of a reject.

    They mean what they do in the tables `scores` and `rejects`. A score has no `error_code`; a
    reject has neither features nor points.
    """
    scored = scored_schema(declarations_of(scorings))
    fields = [field for field in scored if field.name != "position"]
    return pa.schema([*fields, *((name, pa.string()) for name in _ERRORS)])


def score_messages(
    messages: DataFrame,
    scoring: Scoring | Sequence[Scoring] | None = None,
    *,
    value: str = "value",
    as_of: str | int | datetime = "timestamp",
) -> DataFrame:
    """Score messages that each hold the whole list of a wallet's transactions.

    Args:
        messages: one row a message, as Spark's Kafka source gives them; batch or streaming.
        scoring: what scores them, or several; None: `dex-v1` as it is configured.
        value: the column with the JSON, binary or text.
        as_of: the column with the moment of each, a timestamp or unix seconds; or the moment of
            all of them.

    Returns:
        Every row with the columns that it had, and those of `result_schema`; once for each of
        several scorings. A message that cannot be scored has an `error_code`, and the `error` with
        its path; if no scoring can score it for the same reason, it is one row without `scoring`.

    Raises:
        InputError: a column is not there, has another type, or is called as one of the result.
    """
    scorings = _scorings(scoring)
    schema = result_schema(*scorings)
    _refuse_taken(messages, schema)
    _refuse_type(messages, value, T.BinaryType | T.StringType, "binary or text")
    moment: str | int = as_of if isinstance(as_of, str) else _seconds(as_of)
    if isinstance(moment, str):
        _refuse_type(messages, moment, T.TimestampType | T.IntegralType, "timestamps or seconds")
    columns = T.StructType([*messages.schema, *from_arrow_schema(schema)])
    work = partial(_score_batches, scorings=scorings, value=value, as_of=moment)
    return messages.mapInArrow(work, columns)


def message_scorer(scoring: Scoring | None = None) -> Callable[..., Any]:
    """A UDF of two columns, messages and their moments, that gives a struct of `result_schema`.

    For instance ``df.select("key", message_scorer()("value", "timestamp").alias("result"))``.

    Args:
        scoring: what scores them; None: `dex-v1` as it is configured.
    """
    scoring = scoring or load_scoring()
    kind = T.StructType(list(from_arrow_schema(result_schema(scoring))))

    def score(values: pa.Array, moments: pa.Array) -> pa.Array:
        parts = [part.drop_columns("position") for part in _results(values, moments, (scoring,))]
        return pa.concat_tables(parts).to_struct_array().combine_chunks()

    scorer: Callable[..., Any] = arrow_udf(score, kind.simpleString(), ArrowUDFType.SCALAR)
    return scorer


def score_transactions(
    transactions: DataFrame,
    as_of: int | datetime,
    scoring: Scoring | Sequence[Scoring] | None = None,
    *,
    columns: Mapping[str, str] | None = None,
) -> DataFrame:
    """Score wallets out of a table of their transactions, one row a transaction, in any order.

    Args:
        transactions: the columns of the view `wallet_transactions`, or others that `columns`
            names; no stream, as a wallet is scored over all its rows. Of several rows of a
            document the one with the greatest content counts.
        as_of: the moment that all wallets are scored at; unix seconds, or a time with its zone.
        scoring: what scores them, or several; None: `dex-v1` as it is configured.
        columns: our name -> the table's, with a dot before the field of a struct.

    Returns:
        One row of `result_schema` a wallet and scoring: of a wallet with a bad row its reject, of
        one whose transactions all come later none.

    Raises:
        InputError: a column is not there.
        ConfigurationError: a scoring is not of `dexes` alone.
    """
    scorings = _scorings(scoring)
    refuse_other_categories(scorings, "score_transactions")
    if transactions.isStreaming:
        raise InputError("a stream of transactions: a wallet is scored over all of its rows")
    rows = exploded_rows(transactions, mapping_of(columns or {}))
    wallets = rows.repartition("wallet_key").sortWithinPartitions("wallet_key")
    work = partial(_score_wallets, scorings=scorings, moment=_seconds(as_of))
    return wallets.mapInArrow(work, T.StructType(list(from_arrow_schema(result_schema(*scorings)))))


def _scorings(given: Scoring | Sequence[Scoring] | None) -> Scorings:
    if given is None or isinstance(given, Scoring):
        return (given or load_scoring(),)
    names = [scoring.name for scoring in given]
    if len(set(names)) < len(names) or not names:
        raise InputError(f"scorings {', '.join(names) or '[]'}: give different ones")
    return tuple(given)


def _seconds(moment: int | datetime) -> int:
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise InputError(f"as_of: {moment} has no time zone")
        moment = int(moment.timestamp() // 1)
    if not FIRST_MOMENT <= moment <= MAX_SECONDS:
        raise InputError(f"as_of: {moment} is no moment in unix seconds; are these milliseconds?")
    return moment


def _refuse_taken(messages: DataFrame, schema: pa.Schema) -> None:
    # Spark takes names for the same that differ by case.
    counts = Counter(name.lower() for name in (*messages.columns, *schema.names))
    taken = [name for name in messages.columns if counts[name.lower()] > 1]
    if taken:
        raise InputError(
            f"{', '.join(taken)}: columns of the result, or two of a name: rename those of the "
            "messages"
        )


def _refuse_type(messages: DataFrame, name: str, kinds: Any, meaning: str) -> None:
    found = {field.name: field.dataType for field in messages.schema}
    if name not in found:
        raise InputError(f"no column {name} among {', '.join(found)}")
    if not isinstance(found[name], kinds):
        raise InputError(f"the column {name} is {found[name].simpleString()}, must be {meaning}")


def _score_batches(
    batches: Iterable[pa.RecordBatch], *, scorings: Scorings, value: str, as_of: str | int
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        rows = pa.Table.from_batches([batch])
        moments = rows[as_of] if isinstance(as_of, str) else pa.repeat(as_of, len(rows))
        for results in _results(rows[value], moments, scorings):
            part = rows.take(results["position"])
            for field in list(results.schema)[1:]:
                part = part.append_column(field, results[field.name])
            yield from part.combine_chunks().to_batches()


def _results(values: Any, moments: Any, scorings: Scorings) -> Iterator[pa.Table]:
    """Results of messages in their order, with their `position`, part by part; at least one."""
    _refuse_arrow_types(values.type, moments.type)
    given = values.cast(pa.binary()).to_pylist()
    milliseconds = _milliseconds(moments)
    sizes = np.cumsum([len(value or b"") for value in given])
    part = sizes // PART_BYTES
    bounds = np.flatnonzero(np.diff(part, prepend=-1)).tolist() or [0]
    for start, end in zip(bounds, [*bounds[1:], len(given)], strict=True):
        records = Records.without_keys(
            "",
            offsets=np.arange(end - start),
            timestamps=milliseconds[start:end],
            values=given[start:end],
        )
        [(scored, _)] = score_records([records], scorings, include_transactions=False)
        results = _in_order(scored)
        yield results.set_column(0, "position", pc.add(results["position"], start))


def _refuse_arrow_types(value: pa.DataType, moment: pa.DataType) -> None:
    """What `score_messages` refuses before a task runs, a UDF only sees in one."""
    if not any(test(value) for test in _TEXTS):
        raise InputError(f"messages are {value}, must be binary or text")
    is_time = pa.types.is_timestamp(moment) and moment.tz is not None
    if not (is_time or pa.types.is_integer(moment)):
        raise InputError(f"moments are {moment}, must be timestamps with a zone, or unix seconds")


def _milliseconds(moments: Any) -> npt.NDArray[np.int64]:
    """Unix milliseconds of timestamps, or of unix seconds; -1, which is none, for null."""
    if pa.types.is_timestamp(moments.type):
        micros = moments.cast(pa.timestamp("us", moments.type.tz)).cast(pa.int64())
        milliseconds: npt.NDArray[np.int64] = np.asarray(pc.fill_null(micros, -1)) // 1000
        return milliseconds
    seconds = np.asarray(pc.fill_null(moments.cast(pa.int64()), -1))
    # What is no moment in seconds is none in milliseconds.
    bound = np.iinfo(np.int64).max // 1000
    clipped: npt.NDArray[np.int64] = np.clip(seconds, -bound, bound) * 1000
    return clipped


def _in_order(scored: Scored) -> pa.Table:
    """Scores and rejects in the order of their messages: `position`, and `result_schema`."""
    hashes = {scoring.name: scoring.config_hash for scoring in scored.scorings}
    rejects = scored.rejects
    names = rejects["scoring"]
    if len(hashes) == 1:
        names = pa.repeat(next(iter(hashes)), len(rejects))
    made_by = {
        "scoring": names,
        "config_hash": pa.array([hashes.get(n) for n in names.to_pylist()], pa.string()),
    }
    rejects = rejects.drop_columns("scoring")
    for name, column in made_by.items():
        rejects = rejects.append_column(name, column)
    both = pa.concat_tables([scored.scores, rejects], promote_options="default")
    ordered = both.sort_by([("position", "ascending"), ("scoring", "ascending")])
    return ordered.select(["position", *result_schema(*scored.scorings).names])


def _score_wallets(
    batches: Iterable[pa.RecordBatch], *, scorings: Scorings, moment: int
) -> Iterator[pa.RecordBatch]:
    for rows in gather_wallets(batches):
        good, bad = check_rows(rows)
        rejects = reject_rows(bad.reasons, np.full(len(bad.reasons), moment))
        yield from _without_position(Scored.without_scores(scorings, rejects, None))
        if not good.num_rows:
            continue
        history = external_history(good, moment)
        moments = fixed_moments(history, np.array([moment]))
        for scored in score_moments(history, moments, scorings):
            yield from _without_position(scored)


def _without_position(scored: Scored) -> list[pa.RecordBatch]:
    batches: list[pa.RecordBatch] = (
        _in_order(scored).drop_columns("position").combine_chunks().to_batches()
    )
    return batches
