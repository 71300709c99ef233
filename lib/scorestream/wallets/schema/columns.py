"""Columns that several tables of wallets have, each with its meaning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

import pyarrow as pa

from scorestream.infra.delivery.columns import KEY_COLUMNS
from scorestream.infra.delta.table import Column
from scorestream.wallets.core import schemas

MODELS: Final = pa.map_(pa.string(), pa.struct([("version", pa.string()), ("value", pa.float64())]))
_KEYS: Final = {column.name: column for column in KEY_COLUMNS}
PERCENTILES: Final = (1, 5, 10, 25, 50, 75, 90, 95, 99)


def described(fields: Iterable[pa.Field], comments: Mapping[str, str]) -> tuple[Column, ...]:
    """Columns of fields that the core declares; each must have a comment."""
    return tuple(Column(field.name, field.type, comments[field.name]) for field in fields)


def added_later(*columns: Column) -> tuple[Column, ...]:
    """Columns that tables of earlier versions lack."""
    return tuple(replace(column, added_later=True) for column in columns)


def _key(name: str, comment: str) -> Column:
    """A column that every stream's tables have, as it is of wallets' rows: of backfills, too."""
    return replace(_KEYS[name], comment=comment)


WALLET_ADDRESS: Final = Column(
    "wallet_address", pa.string(), "address as the message gave it", statistics=True
)
WALLET_KEY: Final = Column(
    "wallet_key",
    pa.string(),
    "which wallet it is: the lower-case form of 0x... hex, else the address as given",
    statistics=True,
)
AS_OF: Final = Column(
    "as_of",
    pa.int64(),
    "unix seconds: the moment the row speaks of (the Kafka record's timestamp, floored)",
    statistics=True,
)
TRANSACTION_COUNT: Final = Column(
    "transaction_count",
    pa.int64(),
    "transactions that the score is of; of a reject, those of the message",
)
PROCESSING_TIME: Final = Column(
    "processing_time_ms",
    pa.int64(),
    "milliseconds from the start of the micro-batch until it is scored",
)
SOURCE_ID: Final = (
    _key(
        "source_topic", "Kafka topic; in a backfill file URI, or transactions:TOPIC from the table"
    ),
    _key("source_partition", "Kafka partition, or 0 in a backfill"),
    _key("source_offset", "Kafka offset, or byte offset of the line in a backfill"),
)
SOURCE: Final = (
    *SOURCE_ID,
    Column("source_timestamp", schemas.UTC_TIMESTAMP, "timestamp of the Kafka record"),
)
RUN: Final = (
    _key("run_id", "id of the streaming query, or of the backfill"),
    _key("batch_id", "micro-batch of the run"),
)
GENERATION: Final = _key(
    "generation", "which pass over the topic scored it: 0, and one more with each --reprocess"
)
PROTOCOL: Final = Column("protocol", pa.string(), "protocol as the message named it")
