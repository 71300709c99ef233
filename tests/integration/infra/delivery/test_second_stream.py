"""A stream of market prices, in forty lines: what a second stream has to say, and what it gets."""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest
from pyspark import cloudpickle
from pyspark.sql import SparkSession

from scorestream.infra.config.settings import Settings
from scorestream.infra.delivery.batch import Batch
from scorestream.infra.delivery.columns import KEY_COLUMNS, coverage_table
from scorestream.infra.delivery.coverage_table import CoverageTable
from scorestream.infra.delivery.delivery import Delivery
from scorestream.infra.delivery.job import StreamOptions, open_stream
from scorestream.infra.delivery.record_transform import RecordTransform, key_columns
from scorestream.infra.delivery.stream import Publication, Stream
from scorestream.infra.delta.table import NO_IDENTIFIERS, Catalog, Column, Table
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import ScorestreamError
from scorestream.infra.kafka.producer import Record
from scorestream.infra.kafka.records import Records
from tools.testkit.installation import Installation

pytestmark = [pytest.mark.spark, pytest.mark.broker]

# The second stream: its tables, its transform, its messages, its declaration, its job.

PRICES: Final = Table.of_columns(
    "prices",
    (
        Column("token", pa.string(), "symbol of the token"),
        Column("usd", pa.float64(), "its price"),
        *KEY_COLUMNS,
    ),
    comment="one row a price",
    identifiers=NO_IDENTIFIERS,
)
COVERAGE: Final = coverage_table("price_coverage", [PRICES])
CATALOG: Final = Catalog((PRICES, COVERAGE))


def price_rows(records: Records, batch: Batch) -> dict[Table, pa.Table]:
    prices = [json.loads(value or b"{}") for value in records.values]
    columns = {name: pa.array([price[name] for price in prices]) for name in ("token", "usd")}
    columns |= key_columns(records, batch)
    return {PRICES: pa.table(columns, schema=PRICES.columns)}


def price_records(rows: pa.Table) -> Iterator[Record]:
    for row in rows.to_pylist():
        value = {"token": row["token"], "usd": row["usd"], "offset": row["source_offset"]}
        yield Record(row["token"].encode(), json.dumps(value).encode())


def price_stream(topic: str) -> Stream:
    return Stream(
        name="stream_prices",
        topic=topic,
        tables=(PRICES,),
        coverage=COVERAGE,
        publications=(Publication(PRICES, f"{topic}-out", price_records),),
        topic_setting="PRICES_TOPIC",
    )


def run_prices(options: StreamOptions, settings: Settings, topic: str) -> None:
    stream = price_stream(topic)
    with open_stream(stream, options, settings, CATALOG) as job:
        job.run(RecordTransform(stream, settings, price_rows))


# The tests.

COUNT: Final = 10


class Site:
    """A topic of prices, and starts of the stream."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.topic = f"prices-{installation.name}"
        self.sent = 0

    def publish(self) -> None:
        """Ten more prices."""
        cluster = self.installation.cluster
        cluster.ensure_topics([self.topic])
        prices = [
            {"token": f"T{number % 3}", "usd": number / 4}
            for number in range(self.sent, self.sent + COUNT)
        ]
        self.sent += COUNT
        cluster.produce(self.topic, [Record(None, json.dumps(price).encode()) for price in prices])

    def drain(self, checkpoint: Path) -> None:
        options = StreamOptions(str(checkpoint), available_now=True, max_offsets_per_trigger=7)
        run_prices(options, self.installation.settings, self.topic)

    def published(self) -> list[float]:
        return sorted(m.value["usd"] for m in self.installation.messages(f"{self.topic}-out"))

    def check(self) -> None:
        """Every price is stored once, and published."""
        rows = self.installation.rows("prices")
        stored = Counter((r["source_partition"], r["source_offset"]) for r in rows)
        assert set(stored.values()) == {1}
        assert sorted(row["usd"] for row in rows) == [number / 4 for number in range(self.sent)]
        assert set(self.published()) == {row["usd"] for row in rows}


@pytest.fixture
def site(installation: Installation, spark: SparkSession) -> Iterator[Site]:
    # The tasks cannot import a test.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield Site(installation)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]


def test_prices_are_delivered_once(site: Site, tmp_path: Path) -> None:
    for _ in range(2):
        site.publish()
        site.drain(tmp_path / "checkpoint")
    site.check()
    assert len(site.published()) == site.sent


def _fail(*_: Any) -> None:
    raise OSError("cut off")


@pytest.mark.parametrize("window", ["append", "_publish", "_record"])
def test_a_batch_that_was_cut_off_is_finished(
    window: str, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the commit, before Kafka, or before the record."""
    site.publish()
    site.drain(tmp_path / "checkpoint")
    site.publish()
    with monkeypatch.context() as patch:
        patch.setattr(Warehouse if window == "append" else Delivery, window, _fail)
        with pytest.raises(ScorestreamError, match="cut off"):
            site.drain(tmp_path / "checkpoint")
    site.drain(tmp_path / "checkpoint")
    site.check()


def test_after_a_lost_checkpoint_the_stream_starts_after_its_coverage(
    site: Site, tmp_path: Path
) -> None:
    site.publish()
    site.drain(tmp_path / "first")
    warehouse = Warehouse(site.installation.settings.warehouse, CATALOG)
    delivered = CoverageTable(warehouse, price_stream(site.topic)).newest_confirmed(0)
    assert delivered is not None
    ends = site.installation.cluster.end_offsets(site.topic)
    # Records without a key may leave a partition empty.
    assert delivered.starts == {partition: end for partition, end in ends.items() if end}
    site.publish()
    site.drain(tmp_path / "second")
    site.check()
    assert len(site.published()) == site.sent
    assert len({row["run_id"] for row in site.installation.rows("prices")}) == 2
