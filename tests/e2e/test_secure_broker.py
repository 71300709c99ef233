"""The job over TLS, client certificates and SASL; and what it says where a broker refuses it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from scorestream.infra.config.settings import PROJECT_ROOT
from tools.local.ports import HOST
from tools.testkit.delivery_checks import check_every_offset_once
from tools.testkit.golden import differences, golden_records, golden_wallets
from tools.testkit.installation import JOB_SECONDS, Installation
from tools.testkit.secure_broker import (
    KEY_PASSWORD,
    PASSWORD,
    SecureBroker,
    secure_broker,
)

pytestmark = pytest.mark.broker

TRUST: Final = "mend KAFKA_SSL_CAFILE, or name the server"
LOGIN: Final = "mend KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD or KAFKA_SASL_MECHANISM"
PROTOCOL: Final = "mend KAFKA_SECURITY_PROTOCOL, or the port"


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    with secure_broker(tmp_path_factory.mktemp("secure")) as broker:
        yield broker


def installation(secure: SecureBroker, listener: str, folder: Path) -> Installation:
    security = secure.environment(listener)
    return Installation(folder, security["KAFKA_BOOTSTRAP_SERVERS"], security)


@pytest.mark.parametrize("listener", ["SASL_SSL", "MUTUAL", "SASL_PLAINTEXT"])
def test_the_golden_wallets_are_scored_over(
    listener: str, secure: SecureBroker, tmp_path: Path
) -> None:
    secured = installation(secure, listener, tmp_path)
    secured.publish(golden_records())
    secured.drain()
    check_every_offset_once(secured)
    expected = {(g.wallet, g.as_of): g.expected for g in golden_wallets()}
    scores = secured.rows("scores")
    assert {(row["wallet_address"], row["as_of"]) for row in scores} == set(expected)
    for row in scores:
        assert differences(row, expected[row["wallet_address"], row["as_of"]]) == []


class Refused(NamedTuple):
    """A listener, the settings that are changed ("": unset), and what is told of it."""

    listener: str
    changes: dict[str, str]
    told: list[str]
    exit_code: int = 1


# {NAME} stands for the port of a listener, {pem} for the folder of the PEM files.
REFUSED: Final = {
    "wrong password": Refused(
        "SASL_SSL",
        {"KAFKA_SASL_PASSWORD": "Canary4Wrong"},
        [f"{HOST}:{{SASL_SSL}}", "login of 'scorer' with SCRAM-SHA-512 is refused", LOGIN],
    ),
    "unknown user": Refused(
        "SASL_PLAINTEXT",
        {"KAFKA_SASL_USERNAME": "nobody"},
        ["{SASL_PLAINTEXT}", "login of 'nobody' with SCRAM-SHA-256 is refused", LOGIN],
    ),
    "mechanism that is off": Refused(
        "SASL_SSL", {"KAFKA_SASL_MECHANISM": "PLAIN"}, ["supported mechanisms: SCRAM-SHA-512"]
    ),
    "authority of another": Refused(
        "SASL_SSL",
        {"KAFKA_SSL_CAFILE": "{pem}/other_ca.pem"},
        ["{SASL_SSL}", "certificate is not trusted", "issuer certificate", TRUST],
    ),
    "name not in the certificate": Refused(
        "SASL_SSL",
        {"KAFKA_BOOTSTRAP_SERVERS": "localhost:{SASL_SSL}"},
        ["localhost:{SASL_SSL}", "not valid for 'localhost'", TRUST],
    ),
    "in the clear to TLS": Refused(
        "MUTUAL",
        {"KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"},
        ["{MUTUAL}", "does not speak PLAINTEXT", PROTOCOL],
    ),
    "TLS to one in the clear": Refused(
        "SASL_SSL",
        {"KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{{SASL_PLAINTEXT}}"},
        ["{SASL_PLAINTEXT}", "does not speak TLS", PROTOCOL],
    ),
    "login to one without": Refused(
        "SASL_PLAINTEXT",
        {"KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{{PLAINTEXT}}"},
        ["{PLAINTEXT}", "takes no login", PROTOCOL],
    ),
    "no client certificate": Refused(
        "MUTUAL",
        {"KAFKA_SSL_CERTFILE": "", "KAFKA_SSL_KEYFILE": "", "KAFKA_SSL_KEY_PASSWORD": ""},
        ["{MUTUAL}", "client certificate", "none is given", "mend KAFKA_SSL_CERTFILE"],
    ),
    "client certificate of another authority": Refused(
        "MUTUAL",
        {"KAFKA_SSL_CERTFILE": "{pem}/stranger.pem", "KAFKA_SSL_KEYFILE": "{pem}/stranger.key"},
        ["{MUTUAL}", "stranger.pem is none", "mend KAFKA_SSL_CERTFILE"],
    ),
    "wrong password of the key": Refused(
        "MUTUAL",
        {"KAFKA_SSL_KEY_PASSWORD": "Canary4Wrong"},
        ["connection settings cannot be used", "KAFKA_SSL_KEY_PASSWORD"],
        2,
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_ends_the_job_in_one_line(
    case: str, secure: SecureBroker, tmp_path: Path
) -> None:
    listener, changes, told, expected = REFUSED[case]
    names = {"pem": secure.pem, "PLAINTEXT": secure.local.port, **secure.ports}
    security = secure.environment(listener, **{k: v.format(**names) for k, v in changes.items()})
    refused = Installation(tmp_path, security["KAFKA_BOOTSTRAP_SERVERS"], security)
    code, out, err = run_without_spark(refused)
    assert (code, out) == (expected, "")
    [line] = err.splitlines()
    assert line.startswith("KafkaError: ") == (expected == 1)
    assert [text for text in told if text.format(**names) not in line] == []
    assert [text for text in (PASSWORD, KEY_PASSWORD, "Canary4") if text in line] == []


def run_without_spark(refused: Installation) -> tuple[int, str, str]:
    """Run the stream as spark-submit would; it asks the broker before it starts Spark."""
    job = [sys.executable, str(PROJECT_ROOT / "jobs" / "stream_scores.py"), "--available-now"]
    environment = os.environ | refused.environment
    done = subprocess.run(
        job, env=environment, capture_output=True, text=True, check=False, timeout=JOB_SECONDS
    )
    return done.returncode, done.stdout, done.stderr


def test_spark_submit_ends_with_the_same_line(secure: SecureBroker, tmp_path: Path) -> None:
    refused = installation(secure, "SASL_SSL", tmp_path)
    code, _, err = refused.run(
        "stream_scores", "--available-now", KAFKA_SASL_PASSWORD="Canary4Wrong"
    )
    assert code == 1
    assert [line for line in err.splitlines() if line.startswith("KafkaError: Kafka at ")]
    assert "Traceback" not in err
    assert "Canary4" not in err
