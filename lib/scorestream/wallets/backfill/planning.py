"""What a backfill does, in what order: written down once, when the run begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec
from pyspark.sql import SparkSession

from scorestream.infra.config.settings import Settings, normalize_location
from scorestream.infra.delta.optimize import CLUSTERED
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import BackfillError, ConfigurationError
from scorestream.infra.mlflow.model_version import Version
from scorestream.infra.spark.tasks import input_errors
from scorestream.infra.storage.filesystem import (
    as_uri,
    exists,
    read_text,
    write_text,
)
from scorestream.infra.storage.input_files import found_files
from scorestream.wallets.backfill.external_wallets import ExternalWallets
from scorestream.wallets.backfill.json_lines import LinesSplit, plan_lines
from scorestream.wallets.backfill.sorting import sort_by_message, sort_by_wallet, stored_rows
from scorestream.wallets.backfill.stored_messages import HistoryRange, plan_history
from scorestream.wallets.backfill.stored_wallets import StoredWallets
from scorestream.wallets.core.scoring import Scorings
from scorestream.wallets.execution.configured_scoring import (
    DEFAULT_SCORING,
    refuse_other_categories,
)
from scorestream.wallets.execution.transaction_tables import exploded_rows, load_mapping, read_table
from scorestream.wallets.schema.tables import TRANSACTIONS

InputFormat = Literal["jsonl", "parquet", "delta", "csv"]
# As input, the name of the project's own table stands for its rows in the warehouse.
STORED: Final = TRANSACTIONS.name
Item = LinesSplit | HistoryRange | StoredWallets | ExternalWallets
_ENDINGS: Final[dict[str, InputFormat]] = {".parquet": "parquet", ".csv": "csv", ".csv.gz": "csv"}


@dataclass(frozen=True)
class BackfillOptions:
    """Options of a backfill, as the command line gives them.

    Attributes:
        input: path, URI or pattern of files, or `transactions`.
        moments: unix seconds at which wallets are scored; none: each message's own.
        format: what the files are; None to go by their names.
        columns: a column mapping for tables.
        scorings: names of the scorings.
        run_id: the run to go on with, or a name for a new one; None for a new name.
        publish: results go to Kafka, too, so many a second at most (0: as fast as can be).
    """

    input: str
    moments: tuple[int, ...] = ()
    format: InputFormat | None = None
    columns: Path | None = None
    scorings: tuple[str, ...] = (DEFAULT_SCORING,)
    run_id: str | None = None
    publish: float | None = None


class Plan(msgspec.Struct, frozen=True):
    """A run: what it is of, and its items.

    Attributes:
        moments: unix seconds at which wallets are scored; none: each message's own.
        scoring: names of the scorings, by commas; config_hash: likewise.
        incremental: whether messages carry only what is new.
        chunk: items that are scored at once and committed together.
        models: versions of registered models that are applied.
    """

    input: str
    format: str | None
    columns: str
    moments: list[int]
    scoring: str
    config_hash: str
    incremental: bool
    chunk: int
    lines: list[LinesSplit] = []
    ranges: list[HistoryRange] = []
    stored: list[StoredWallets] = []
    external: list[ExternalWallets] = msgspec.field(name="foreign", default_factory=list)
    models: list[Version] = []

    def chunks(self) -> list[Sequence[Item]]:
        """All items, chunk by chunk."""
        items: list[Item] = [*self.lines, *self.ranges, *self.stored, *self.external]
        return [items[i : i + self.chunk] for i in range(0, len(items), self.chunk)]


@dataclass(frozen=True)
class Planner:
    """Makes the plan of a run, or finds it.

    Attributes:
        location: of the run's own files, without an ending.
        versions: of the registered models that a new run applies; asked once.
    """

    options: BackfillOptions
    settings: Settings
    spark: SparkSession
    warehouse: Warehouse
    scorings: Scorings
    location: str
    versions: Callable[[], Sequence[Version]] = tuple

    @property
    def folder(self) -> str:
        """Where rows lie that were brought together by wallet."""
        return f"{self.location}.wallets"

    def plan(self) -> Plan:
        """The plan that the run id stands for, or a new one.

        Raises:
            BackfillError: the run id stands for another backfill.
            ScorestreamError: the input is not there, or not to be had like this.
        """
        text = read_text(f"{self.location}.json")
        if text is not None:
            known = msgspec.json.decode(text, type=Plan)
            self._refuse_another(known)
            return known
        items = self._items()
        models = list(self.versions())
        plan = msgspec.structs.replace(self._outline(), models=models, **items)
        write_text(f"{self.location}.json", msgspec.json.encode(plan).decode())
        return plan

    def _outline(self) -> Plan:
        columns = self.options.columns
        return Plan(
            input=_named(self.options.input),
            format=self.options.format,
            columns=load_mapping(columns).model_dump_json(),
            moments=list(self.options.moments),
            scoring=",".join(scoring.name for scoring in self.scorings),
            config_hash=",".join(scoring.config_hash for scoring in self.scorings),
            incremental=self.settings.is_incremental,
            chunk=self.spark.sparkContext.defaultParallelism,
        )

    def _refuse_another(self, known: Plan) -> None:
        given = self._outline()
        names = {
            "input": "--input",
            "format": "--format",
            "columns": "--columns",
            "moments": "--as-of",
            "scoring": "--scoring",
            "config_hash": "constants",
            "incremental": "WALLET_MESSAGES=incremental",
        }
        # Earlier versions noted a relative path, which is one of the folder of now.
        known = msgspec.structs.replace(known, input=_named(known.input))
        pairs = {names[n]: (getattr(known, n), getattr(given, n)) for n in names}
        other = [f"{name} was {a}, is {b}" for name, (a, b) in pairs.items() if a != b]
        if other:
            raise BackfillError(
                f"run {self.options.run_id} is another backfill ({'; '.join(other)}): give "
                "another --run-id"
            )

    def _items(self) -> dict[str, Sequence[Item]]:
        if self.options.input == STORED:
            refuse_other_categories(self.scorings, f"--input {STORED}")
            return self._stored()
        form = self.options.format or _format_of(self.options.input)
        if form != "jsonl":
            refuse_other_categories(self.scorings, f"--input {self.options.input}")
            return {"external": self._external(form)}
        if self.settings.is_incremental:
            refuse_other_categories(self.scorings, "WALLET_MESSAGES=incremental")
        if len(self.options.moments) > 1:
            raise ConfigurationError(
                "--as-of-range needs a history of transactions as --input: messages are scored "
                "whole, at one moment"
            )
        moment = self.options.moments[0] if self.options.moments else None
        parallelism = self.spark.sparkContext.defaultParallelism
        return {"lines": plan_lines(self.options.input, moment, parallelism)}

    def _stored(self) -> dict[str, Sequence[Item]]:
        if not self.options.moments and not self.settings.is_incremental:
            return {"ranges": plan_history(self.spark, self._files_by_message())}
        if self.warehouse.is_empty(TRANSACTIONS):
            return {}
        size = self.warehouse.size(TRANSACTIONS)
        files = sort_by_wallet(
            stored_rows(self.spark, self.warehouse), self.folder, self._parallelism, size
        )
        moments = list(self.options.moments)
        items = [StoredWallets(uri, i, bytes_, moments) for i, (uri, bytes_) in enumerate(files)]
        return {"stored": items}

    def _files_by_message(self) -> list[str]:
        """Files with the rows of the history, more or less in the order of its messages."""
        if self.warehouse.transaction_version(TRANSACTIONS, CLUSTERED) is None:
            return self.warehouse.files(TRANSACTIONS)
        return sort_by_message(self.spark, self.warehouse, self.folder, self._parallelism)

    def _external(self, form: Literal["parquet", "delta", "csv"]) -> list[ExternalWallets]:
        if not self.options.moments:
            raise ConfigurationError(
                f"--as-of record needs messages, and {self.options.input} is a table of "
                "transactions: give a time"
            )
        mapping = load_mapping(self.options.columns)
        uri = as_uri(self.options.input)
        size = sum(size for _, size in found_files(self.options.input))
        rows = exploded_rows(read_table(self.spark, uri, form), mapping)
        with input_errors():
            files = sort_by_wallet(rows, self.folder, self._parallelism, size)
        moments = list(self.options.moments)
        return [
            ExternalWallets(name, i, bytes_, uri, moments) for i, (name, bytes_) in enumerate(files)
        ]

    @property
    def _parallelism(self) -> int:
        return self.spark.sparkContext.defaultParallelism


def _named(given: str) -> str:
    """An input as plans note it: the same files, whatever folder a command is started in."""
    return given if given == STORED else normalize_location(given)


def _format_of(given: str) -> InputFormat:
    """What files are, by their names; messages unless they are known for something else."""
    if exists(f"{as_uri(given)}/_delta_log"):
        return "delta"
    found = {_format_of_file(uri) for uri, _ in found_files(given)}
    if len(found) > 1:
        raise ConfigurationError(f"{given}: {' and '.join(sorted(found))}: say --format, or less")
    return found.pop()


def _format_of_file(uri: str) -> InputFormat:
    return next((form for ending, form in _ENDINGS.items() if uri.endswith(ending)), "jsonl")
