"""The declaration of a stream: the topic that it reads, the tables and topics that it writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pyarrow as pa

from scorestream.infra.delta.table import Table
from scorestream.infra.kafka.producer import Record


@dataclass(frozen=True)
class Publication:
    """A table whose rows are published, after they are committed.

    Attributes:
        table: one of the stream's tables.
        topic: where its rows go.
        records: rows of the table -> records; it is pickled.
    """

    table: Table
    topic: str
    records: Callable[[pa.Table], Iterable[Record]]


@dataclass(frozen=True)
class Stream:
    """What is known of a stream before it starts.

    A warehouse has one stream for each input topic: its lease and its coverage go by the topic.

    Attributes:
        name: of the job and of its default checkpoint.
        topic: the input topic.
        tables: what a batch is written to, each with the columns `columns.KEYS`. They are committed
            from the last to the first, so that a row of the first says that the others are there.
        coverage: the table of what is delivered, see `columns.coverage_table`.
        publications: what is published, in this order; nothing else is.
        topic_setting: the setting that names the topic, for error messages.
    """

    name: str
    topic: str
    tables: tuple[Table, ...]
    coverage: Table
    publications: tuple[Publication, ...] = ()
    topic_setting: str = "KAFKA_INPUT_TOPIC"

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that a stream reads and publishes to."""
        return (self.topic, *(each.topic for each in self.publications))

    @property
    def all_tables(self) -> tuple[Table, ...]:
        """The tables that a stream commits to."""
        return (self.coverage, *self.tables)
