"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from analysed import fill
from golden import configured_model
from installation import QUICK_START, Installation
from scorestream.core.dex_v1 import DexV1
from scorestream.io.delta.spark import register
from scorestream.io.delta.warehouse import Warehouse
from scorestream.local.broker import LocalBroker
from scorestream.local.ports import free_port
from scorestream.local.session import local_session
from scorestream.tables import TABLES, VIEWS


@pytest.fixture(scope="session")
def model() -> DexV1:
    """`dex-v1` as it is configured in `conf/`."""
    return configured_model()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    """A broker of the tests' own, on a free port."""
    port = free_port()
    broker = LocalBroker(port, tmp_path_factory.mktemp("kafka"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def installation(broker: LocalBroker, tmp_path: Path) -> Installation:
    return Installation(tmp_path, broker.bootstrap_servers)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"{QUICK_START} pyspark-shell"
    session = local_session(2, str(tmp_path_factory.mktemp("spark-warehouse")))
    yield session
    session.stop()


@contextmanager
def registered(spark: SparkSession, folder: Path) -> Iterator[Warehouse]:
    """An empty warehouse, its tables and views known to Spark."""
    made = Warehouse(str(folder / "warehouse"))
    made.create_tables()
    register(spark, made)
    yield made
    for view in VIEWS:
        spark.sql(f"DROP VIEW {view.name}")
    for table in TABLES:
        spark.sql(f"DROP TABLE {table.name}")


@pytest.fixture
def warehouse(spark: SparkSession, tmp_path: Path) -> Iterator[Warehouse]:
    with registered(spark, tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def analysed(
    spark: SparkSession, model: DexV1, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Warehouse]:
    """A warehouse with the golden wallets and the samples, some of them scored twice."""
    with registered(spark, tmp_path_factory.mktemp("analysed")) as made:
        fill(made, model)
        yield made
