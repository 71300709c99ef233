"""Reference data in the warehouse: kept where it differs, used while the database is away."""

from __future__ import annotations

import pytest
from pydantic import SecretStr
from pymongo import MongoClient
from pyspark.sql import SparkSession
from structlog.testing import capture_logs

from scorestream.infra.config.settings import PROJECT_ROOT, Settings
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import ReferenceDataUnavailable
from scorestream.wallets.reference.reference_data import load_conf_reference
from scorestream.wallets.reference.snapshots import current_reference, keep_copy
from scorestream.wallets.schema.tables import TOKENS
from tools.testkit.go_programs import has_go
from tools.testkit.mongo_server import NO_GO, own_server

pytestmark = [pytest.mark.spark, pytest.mark.mongo, pytest.mark.timeout(900)]


def test_the_copy_is_written_only_where_it_differs(
    warehouse: Warehouse, spark: SparkSession
) -> None:
    reference = load_conf_reference(PROJECT_ROOT / "conf")
    for _ in range(2):
        keep_copy(reference, warehouse)
    assert len(warehouse.rows(TOKENS)) == len(reference.tokens)
    assert spark.table("protocol_thresholds").count() == len(reference.thresholds)
    history = spark.sql("DESCRIBE HISTORY tokens").collect()
    assert [row.operation for row in history] == ["WRITE", "CREATE TABLE"]


@pytest.mark.skipif(not has_go(), reason=NO_GO)
def test_the_last_good_copy_serves_while_the_database_is_away(warehouse: Warehouse) -> None:
    with own_server() as url:
        settings = Settings(mongodb_url=SecretStr(url), mongodb_database="reference")
        with MongoClient[dict[str, object]](url) as client:
            address = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"
            client["reference"]["tokens"].insert_one(
                {"address": address, "symbol": "ONLYMONGO", "decimals": 6, "stable": True}
            )
        fetched = current_reference(settings, warehouse)
        assert fetched.stable_symbols == {"ONLYMONGO"}
        keep_copy(fetched, warehouse)
    # A run that has its reference data from elsewhere shows it, and takes nothing away.
    conf = current_reference(Settings(), warehouse)
    keep_copy(conf, warehouse)
    assert {row["symbol"] for row in warehouse.rows(TOKENS)} == {t.symbol for t in conf.tokens}
    with capture_logs() as logs:
        away = current_reference(settings, warehouse)
    assert away.tokens == fetched.tokens
    assert [entry["event"] for entry in logs] == ["reference_data_from_last_copy"]
    for other in ({"mongodb_database": "other"}, {"mongodb_tokens_collection": "others"}):
        with pytest.raises(ReferenceDataUnavailable, match="no copy of what this database gave"):
            current_reference(settings.model_copy(update=other), warehouse)


def test_without_any_copy_a_database_that_is_away_is_an_error(warehouse: Warehouse) -> None:
    settings = Settings(mongodb_url=SecretStr("mongodb://127.0.0.1:1/"))
    with pytest.raises(ReferenceDataUnavailable, match="cannot be read"):
        current_reference(settings, warehouse)
