"""Tables of transactions as input: one row a transaction, of any wallet, in any order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Final, Literal
from urllib.parse import unquote

import pyarrow as pa
from pydantic import ValidationError
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from scorestream.infra.config.frozen_model import FrozenModel
from scorestream.infra.config.yaml_files import format_problems, read_yaml
from scorestream.infra.error_text import error_summary
from scorestream.infra.errors import ConfigurationError, InputError
from scorestream.infra.spark.compat import JavaError
from scorestream.infra.spark.compat_texts import error_condition
from scorestream.infra.spark.csv_reader import csv_rows
from scorestream.infra.storage.input_files import found_files
from scorestream.infra.times import MAX_SECONDS, MIN_SECONDS
from scorestream.wallets.core.decode import DEFAULT_CHAIN
from scorestream.wallets.core.messages import DEXES, MAX_AMOUNT, MAX_WALLET_CHARACTERS
from scorestream.wallets.core.rules import FLAT_LEGS, LEG_FIELDS, LEG_PARTS, actions_with
from scorestream.wallets.schema.sql_rules import wallet_key

TableFormat = Literal["parquet", "delta", "csv"]
# Fields of a transaction in a message -> our names of the columns.
FIELDS: Final = {
    "document_id": "document_id",
    "action": "action",
    "timestamp": "timestamp",
    "protocol": "protocol",
    "poolId": "pool_id",
    "poolName": "pool_name",
    "caller": "caller",
    "chainId": "chain_id",
}
COLUMNS: Final = (
    "wallet_address",
    *FIELDS.values(),
    *(f"{leg}_{part.nested}" for leg in LEG_FIELDS for part in LEG_PARTS),
)
REQUIRED: Final = ("wallet_address", "document_id", "action", "timestamp")
REJECT_GROUPS: Final = 10_000
_TEXTS: Final = ("protocol", "pool_name", "caller")


class ColumnMapping(FrozenModel):
    """How the columns of a table are called: a file like those of `conf/inputs`.

    Attributes:
        columns: our name -> the table's, with a dot before the field of a struct.
        constants: our name -> the value of every row.
    """

    columns: Mapping[str, str] = {}
    constants: Mapping[str, str | int | float] = {}


def load_mapping(path: Path | None) -> ColumnMapping:
    """Read a column mapping; None: the columns have our names.

    Raises:
        ConfigurationError: no such file, or it maps columns that we do not have.
    """
    if path is None:
        return ColumnMapping()
    try:
        mapping = ColumnMapping(**read_yaml(path))
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {format_problems(error)}") from None
    if unknown := _unknown_columns(mapping):
        raise ConfigurationError(f"{path}: {unknown}")
    return mapping


def mapping_of(columns: Mapping[str, str]) -> ColumnMapping:
    """The mapping that a program gives: our name -> the table's.

    Raises:
        InputError: a name is no text, or we have no such column.
    """
    try:
        mapping = ColumnMapping(columns=columns)
    except ValidationError as error:
        raise InputError(f"columns: {format_problems(error)}") from None
    if unknown := _unknown_columns(mapping):
        raise InputError(f"columns: {unknown}")
    return mapping


def _unknown_columns(mapping: ColumnMapping) -> str:
    unknown = sorted({*mapping.columns, *mapping.constants} - set(COLUMNS))
    return f"{', '.join(unknown)}: not one of {', '.join(COLUMNS)}" if unknown else ""


def read_table(spark: SparkSession, uri: str, form: TableFormat) -> DataFrame:
    """The rows of a table as they are; CSV as text, below a header: nothing is null, "" is not.

    Raises:
        InputError: it cannot be read.
    """
    if form == "csv":
        return _read_csv(spark, uri)
    try:
        # Hadoop's paths are not quoted as URIs are.
        path = unquote(uri.removeprefix("file://")) if uri.startswith("file://") else uri
        return spark.read.format(form).load(path)
    except (PySparkException, JavaError) as error:
        raise InputError(f"{uri} cannot be read as {form}: {error_condition(error)}") from None


def _read_csv(spark: SparkSession, uri: str) -> DataFrame:
    try:
        folder = uri.rpartition("/")[0] if "*" in uri else uri
        return csv_rows(spark, found_files(uri), folder, nulls=True)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{uri} cannot be read as csv: {error_summary(error)}") from None


def exploded_rows(table: DataFrame, mapping: ColumnMapping) -> DataFrame:
    """Rows of a table as `HISTORY_ROWS`, with their wallet instead of `message`.

    A row that the decoder must look at is a message of its own in `defect`: what is not plainly
    good is there as the table has it, all else as it is in the other columns.

    Raises:
        InputError: a required column lacks, or one that the mapping names.
    """
    raw = _raw(table, mapping)
    types = {field.name: field.dataType for field in raw.schema}
    for prefix, legs in FLAT_LEGS.items():
        for part in LEG_PARTS:
            used = _used([f"{leg}_{part.nested}" for leg in legs], legs, types)
            raw = raw.withColumn(f"{prefix}_{part.nested}", used)
    columns = _typed(types)
    typed = raw.select(
        *[column.alias(f"typed_{name}") for name, column in columns.items()], *raw.columns
    )
    types = {field.name: field.dataType for field in raw.schema}
    valid = _are_valid(types)
    return typed.select(
        *[F.col(f"typed_{name}").alias(name) for name in columns],
        F.when(~reduce(and_, valid.values()), _message(types, valid)).alias("defect"),
    )


def _typed(types: Mapping[str, T.DataType]) -> dict[str, Column]:
    """The columns of the exploded form; null where a value has no such type."""
    wallet = F.col("wallet_address").cast("string")
    # Rows without a wallet are rejected in many groups: one would hold all of them at once.
    group = F.pmod(F.xxhash64(F.col("document_id").cast("string")), F.lit(REJECT_GROUPS))
    no_wallet = F.concat(F.lit("\0"), group.cast("string"))
    return {
        "wallet_key": F.coalesce(F.expr(wallet_key("CAST(wallet_address AS STRING)")), no_wallet),
        "wallet_address": wallet,
        "document_id": F.col("document_id").cast("string"),
        "action": F.col("action").cast("string"),
        "timestamp": _seconds(types),
        "pool_id": F.col("pool_id").cast("string"),
        **{name: F.coalesce(F.col(name).cast("string"), F.lit("")) for name in _TEXTS},
        "chain_id": F.coalesce(_whole("chain_id", types), F.lit(DEFAULT_CHAIN)),
        **{name: column for leg in FLAT_LEGS for name, column in _leg(leg).items()},
    }


def _raw(table: DataFrame, mapping: ColumnMapping) -> DataFrame:
    """All of `COLUMNS` with the types that they have in the table; null where it has none."""
    found = {name: _column(table, mapping, name) for name in COLUMNS}
    lacking = [name for name in REQUIRED if found[name] is None]
    if lacking:
        raise InputError(
            f"no column {', '.join(lacking)} among {', '.join(table.columns)}: say with --columns "
            "what they are called"
        )
    nothing = F.lit(None).cast("string")
    columns = [(nothing if c is None else c).alias(name) for name, c in found.items()]
    try:
        raw = table.select(*columns)
        # Spark Connect looks at the columns now, and not before.
        _ = raw.schema
    except AnalysisException as error:
        raise InputError(f"a column is not as needed: {str(error).splitlines()[0]}") from None
    return raw


def _column(table: DataFrame, mapping: ColumnMapping, name: str) -> Column | None:
    if name in mapping.constants:
        return F.lit(mapping.constants[name])
    if name in mapping.columns:
        given = mapping.columns[name]
        if given.partition(".")[0] not in table.columns:
            raise InputError(f"no column {given} (for {name}) among {', '.join(table.columns)}")
        return F.col(".".join(f"`{part}`" for part in given.split(".")))
    if name in table.columns:
        return F.col(name)
    for leg in LEG_FIELDS:
        # As the table `transactions` has it.
        if name.startswith(f"{leg}_") and leg in table.columns:
            return F.col(leg).getField(name.removeprefix(f"{leg}_"))
    return None


def _used(names: Sequence[str], legs: Sequence[str], types: Mapping[str, T.DataType]) -> Column:
    """That of the columns whose leg the action uses; as text if their types differ."""
    same = len({types[name].simpleString() for name in names}) == 1
    columns = [F.col(name) if same else F.col(name).cast("string") for name in names]
    return F.coalesce(
        *[F.when(_uses("action", leg), c) for leg, c in zip(legs, columns, strict=True)]
    )


def _uses(action: str, leg: str) -> Column:
    """Whether the action in a column uses a leg."""
    return F.col(action).isin(*actions_with(leg))


def _leg(leg: str) -> dict[str, Column]:
    usd = F.col(f"{leg}_amount_usd").try_cast("double")
    return {
        f"{leg}_amount": F.col(f"{leg}_amount").cast("string"),
        # Adding zero turns -0.0 into 0.0, as the decoder does.
        f"{leg}_usd": F.coalesce(usd, F.lit(0.0)) + F.lit(0.0),
        f"{leg}_address": F.coalesce(F.col(f"{leg}_address").cast("string"), F.lit("")),
        f"{leg}_symbol": F.col(f"{leg}_symbol").cast("string"),
    }


def _seconds(types: Mapping[str, T.DataType]) -> Column:
    """Unix seconds of times, of numbers as messages have them, of texts of either; else null."""
    column = F.col("timestamp")
    if isinstance(types["timestamp"], T.TimestampType | T.TimestampNTZType | T.DateType):
        return column.cast("timestamp").cast("long")
    number = _whole("timestamp", types)
    seconds = F.when(number > MAX_SECONDS, F.floor(number / 1000)).otherwise(number)
    if isinstance(types["timestamp"], T.StringType):
        return F.coalesce(seconds, column.try_cast("timestamp").cast("long"))
    return seconds


def _whole(name: str, types: Mapping[str, T.DataType]) -> Column:
    """The whole numbers of a column, whatever type they have; null where a value is none."""
    if isinstance(types[name], T.BooleanType):
        return F.lit(None).cast("long")
    given = F.col(name).try_cast("decimal(38,6)")
    return F.when(given == F.floor(given), F.floor(given)).try_cast("long")


def _are_valid(types: Mapping[str, T.DataType]) -> dict[str, Column]:
    """By column whether a row's value is valid without a look at it by the decoder.

    The others are texts, of which any will do.
    """
    found = {
        "wallet_address": _is_true(
            F.length("typed_wallet_address").between(1, MAX_WALLET_CHARACTERS)
        ),
        "document_id": F.col("typed_document_id").isNotNull(),
        "action": F.col("typed_action").isNotNull(),
        "timestamp": _is_true(F.col("typed_timestamp").between(MIN_SECONDS, MAX_SECONDS)),
        "chain_id": F.col("chain_id").isNull() | _is_true(_whole("chain_id", types) >= 0),
    }
    for leg in FLAT_LEGS:
        amount, usd = F.col(f"{leg}_amount"), F.col(f"{leg}_amount_usd")
        digits = F.col(f"typed_{leg}_amount").rlike(rf"^[0-9]{{1,{len(MAX_AMOUNT) - 1}}}\z")
        number = usd.try_cast("double")
        finite = (number >= 0) & (number < float("inf")) & ~F.isnan(number)
        found[f"{leg}_amount"] = amount.isNull() | _is_true(digits)
        found[f"{leg}_usd"] = usd.isNull() | _is_true(finite)
    return found


def _is_true(condition: Column) -> Column:
    return F.coalesce(condition, F.expr("false"))


def _message(types: Mapping[str, T.DataType], valid: Mapping[str, Column]) -> Column:
    """The row as a message; a pool or symbol that it does not have is null there, too.

    Left out, either would be "", which counts as one more.
    """

    def value(name: str, of_row: str | None = None) -> Column:
        typed = F.col(f"typed_{name}").cast("variant")
        if name not in valid:
            return F.coalesce(typed, F.parse_json(F.lit("null")))
        return F.when(valid[name], typed).otherwise(_json_value(of_row or name, types))

    fields = [value(name).alias(field) for field, name in FIELDS.items()]
    for prefix, legs in FLAT_LEGS.items():
        struct = F.struct(
            *[
                value(f"{prefix}_{part.flat}", f"{prefix}_{part.nested}").alias(part.field)
                for part in LEG_PARTS
            ]
        )
        fields += [
            F.when(_uses("typed_action", leg), struct).alias(LEG_FIELDS[leg]) for leg in legs
        ]
    entry = F.struct(
        F.lit(DEXES).alias("protocolType"), F.array(F.struct(*fields)).alias("transactions")
    )
    wallet = value("wallet_address").alias("wallet_address")
    return F.to_json(F.struct(wallet, F.array(entry).alias("data")))


def _json_value(name: str, types: Mapping[str, T.DataType]) -> Column:
    """A value of any type as JSON has it; what JSON has nothing for as text."""
    known = T.NumericType | T.BooleanType | T.StringType
    column = F.col(name)
    return (column if isinstance(types[name], known) else column.cast("string")).cast("variant")
