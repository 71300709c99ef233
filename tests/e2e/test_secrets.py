"""No secret is in anything that the job prints, serves, writes or shows of itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from pyspark.sql import SparkSession

from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.kafka.consumer import read_stream
from scorestream.infra.spark.compat import query_execution
from scorestream.wallets.reference import snapshots
from scorestream.wallets.reference.reference_data import load_conf_reference
from scorestream.wallets.reference.snapshots import current_reference
from scorestream.wallets.schema.views import CATALOG
from tools.local.ports import HOST, free_port
from tools.testkit.canaries import (
    Leaks,
    fetch,
    look_at_rest,
    look_at_web,
    needles,
    watch_for_leaks,
)
from tools.testkit.golden import golden_records
from tools.testkit.installation import (
    Installation,
    kill_group,
    offsets_of,
    wait_until,
)
from tools.testkit.secure_broker import (
    KEY_PASSWORD,
    PASSWORD,
    SecureBroker,
    secure_broker,
)

pytestmark = pytest.mark.broker

MESSAGES: Final = 12
SECRETS: Final = {
    "KAFKA_SASL_PASSWORD": PASSWORD.split()[0],
    "KAFKA_SSL_KEY_PASSWORD": KEY_PASSWORD.split()[0],
    "MONGODB_URL": "Canary4Mongo",
    "MLFLOW_TRACKING_URI": "Canary4Mlflow",
}


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    with secure_broker(tmp_path_factory.mktemp("secure")) as broker:
        yield broker


@pytest.fixture
def job(secure: SecureBroker, tmp_path: Path) -> Installation:
    """A job with every secret that there is; MongoDB is away."""
    security = secure.environment("SASL_SSL") | secure.client_certificate
    security |= {
        "MONGODB_URL": "mongodb://reader:Canary4Mongo%2F%40@127.0.0.1:1/?connectTimeoutMS=200",
        "MLFLOW_TRACKING_URI": "http://writer:Canary4Mlflow%2F@127.0.0.1:1",
        "TMPDIR": str(tmp_path / "temporary"),
        # The JVM does not ask TMPDIR.
        "JAVA_TOOL_OPTIONS": f"-Djava.io.tmpdir={tmp_path / 'temporary'}",
    }
    (tmp_path / "temporary").mkdir()
    return Installation(tmp_path, security["KAFKA_BOOTSTRAP_SERVERS"], security)


@pytest.fixture
def leaks(secure: SecureBroker) -> Leaks:
    """Looks for the passwords and for every line of the key, encrypted and decrypted."""
    text = (secure.pem / "client.key").read_bytes()
    key = load_pem_private_key(text, KEY_PASSWORD.encode())
    clear = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    lines = [*text.decode().splitlines(), *clear.decode().splitlines()]
    # The key repeats what the certificate says, which is public.
    certificate = (secure.pem / "client.pem").read_text()
    runs = [run for line in lines for run in re.findall(r"[A-Za-z0-9]{12,}", line)]
    body = [run for run in runs if run not in certificate]
    return Leaks(needles(SECRETS | {f"KAFKA_SSL_KEYFILE: {run}": run for run in body}))


def test_what_is_looked_for_is_found(leaks: Leaks) -> None:
    leaks.look("said", b'{"url": "mongodb://reader:Canary4Mongo%2F%40@host"}')
    leaks.look("encoded", b"cmVhZGVyOkNhbmFyeTRNb25nbw==")
    assert leaks.found == {("said", "MONGODB_URL"), ("encoded", "MONGODB_URL")}


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_a_stream_tells_no_secret(
    level: str, job: Installation, leaks: Leaks, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = Warehouse(job.settings.warehouse, CATALOG)
    warehouse.create_tables()
    # What the database gave before it went away.
    given = load_conf_reference(PROJECT_ROOT / "conf")
    monkeypatch.setattr(snapshots, "fetch_reference", lambda *_: given)
    current_reference(job.settings, warehouse)
    job.publish(golden_records()[:MESSAGES])
    run_and_look(job, level, leaks)
    leaks.look_into(job.folder)
    for table in ("scores", "transactions", "rejects", "tokens"):
        leaks.look(f"table {table}", str(job.rows(table)).encode())
    assert leaks.found == set()
    seen = "\n".join(leaks.seen)
    for where in EXPECTED:
        assert re.search(where, seen, re.MULTILINE), (where, seen)


# Without these the test would have looked at nothing.
EXPECTED: Final = (
    "ps: .*java",
    "ps: .*python",
    "/temporary/",
    "/events/.*local",
    "/_checkpoints/stream_scores/metadata",
    "/output$",
    "^/environment/",
    "^/SQL/execution/",
    "^/StreamingQuery/statistics",
    "^/executors/threadDump",
    "REST sql",
    "^/metrics",
)


@pytest.mark.spark
def test_a_plan_tells_no_secret(job: Installation, leaks: Leaks, spark: SparkSession) -> None:
    plan = query_execution(read_stream(spark, job.settings, job.input_topic))
    for text in (plan.toString(), plan.logical().toJSON(), plan.analyzed().toJSON()):
        assert "Streaming" in text
        leaks.look("plan", text.encode())
    assert leaks.found == set()


def run_and_look(job: Installation, level: str, leaks: Leaks) -> None:
    """Run the stream until it has scored all, and look at it from every side."""
    ui, metrics, published = free_port(), free_port(), job.offsets()
    with (job.folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [str(PROJECT_ROOT / "spark-submit.sh"), "stream_scores"],
            env=os.environ | job.environment | watching(job, level, ui, metrics),
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            with watch_for_leaks(process.pid, job.folder / "temporary", leaks):
                wait_until(lambda: process.poll() is not None or scored(job) == published)
                assert process.poll() is None, (job.folder / "output").read_text()[-4000:]
                leaks.look("/metrics", fetch(f"http://{HOST}:{metrics}/metrics"))
                look_at_web(f"http://{HOST}:{ui}/", leaks)
                look_at_rest(f"http://{HOST}:{ui}/", leaks)
                process.send_signal(signal.SIGTERM)
                assert process.wait(120) == 0
        finally:
            kill_group(process)
            process.wait()


def watching(job: Installation, level: str, ui: int, metrics: int) -> dict[str, str]:
    (job.folder / "events").mkdir()
    conf = {
        "spark.ui.enabled": "true",
        "spark.ui.port": str(ui),
        "spark.ui.killEnabled": "false",
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": (job.folder / "events").as_uri(),
        "spark.eventLog.logStageExecutorMetrics": "true",
        "spark.local.dir": str(job.folder / "temporary"),
    }
    arguments = " ".join(f"--conf {name}={value}" for name, value in conf.items())
    return {"LOG_LEVEL": level, "METRICS_PORT": str(metrics), "SPARK_SUBMIT_ARGS": arguments}


def scored(job: Installation) -> set[tuple[int, int]]:
    return set(offsets_of(job.rows("scores")))


# By name: settings that make the start fail, exit code, and what is told.
FAILING: Final = {
    "settings": (
        {"KAFKA_SASL_MECHANISM": "Canary", "KAFKA_SSL_CAFILE": "none", "METRICS_PORT": "x"},
        2,
        "4 problem(s) in the settings",
    ),
    "url": ({"MONGODB_URL": "mongodb://reader:Canary4Mongo/@127.0.0.1:1"}, 2, "MONGODB_URL: must"),
    "login": ({"KAFKA_SASL_USERNAME": "nobody"}, 1, "login of 'nobody'"),
    "key": ({"KAFKA_SSL_KEY_PASSWORD": "Canary4KeyToo"}, 2, "KAFKA_SSL_KEY_PASSWORD"),
    "database": ({}, 1, "ReferenceDataUnavailable: MongoDB at 127.0.0.1:1"),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_start_that_fails_tells_no_secret(name: str, job: Installation, leaks: Leaks) -> None:
    changes, expected, told = FAILING[name]
    code, out, err = job.run("stream_scores", "--available-now", LOG_LEVEL="DEBUG", **changes)
    assert code == expected, err[-4000:]
    assert told in err
    leaks.look("output", (out + err).encode())
    leaks.look_into(job.folder)
    assert leaks.found == set()
