"""Connection options of librdkafka and of Spark's Kafka source, from the settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaError as Errors
from confluent_kafka import KafkaException
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from scorestream.infra.config.settings import ENCRYPTED, Settings, read_pem
from scorestream.infra.errors import ConfigurationError, KafkaError, ScorestreamError

ANSWER_SECONDS: Final = 15.0
# A topic that was there and is unknown for so long was deleted.
UNKNOWN_SECONDS: Final = 5.0
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024

_OUR_NAMES: Final = {
    "ssl.ca.location": "KAFKA_SSL_CAFILE",
    "ssl.certificate.location": "KAFKA_SSL_CERTFILE",
    "ssl.key.location": "KAFKA_SSL_KEYFILE or KAFKA_SSL_KEY_PASSWORD",
    "Private key check failed": "KAFKA_SSL_KEYFILE is not the key of KAFKA_SSL_CERTFILE",
}
Answer = TypeVar("Answer")
# Answers of a cluster that has just got a topic, or is electing leaders.
_PASSING: Final = frozenset(
    {
        Errors.NOT_LEADER_FOR_PARTITION,
        Errors.LEADER_NOT_AVAILABLE,
        Errors.UNKNOWN_TOPIC_OR_PART,
        Errors.UNKNOWN_LEADER_EPOCH,
        Errors.FENCED_LEADER_EPOCH,
        Errors.OFFSET_NOT_AVAILABLE,
        Errors._UNKNOWN_PARTITION,
        Errors._TRANSPORT,
    }
)
_PASSING_SECONDS: Final = 0.1


def client_options(settings: Settings) -> dict[str, Any]:
    """Connection settings in librdkafka's names, secrets in clear."""
    options = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "security.protocol": settings.kafka_security_protocol,
        "sasl.mechanism": settings.kafka_sasl_mechanism,
        "sasl.username": settings.kafka_sasl_username,
        "sasl.password": _clear(settings.kafka_sasl_password),
        "ssl.ca.location": settings.kafka_ssl_cafile,
        "ssl.certificate.location": settings.kafka_ssl_certfile,
        "ssl.key.location": settings.kafka_ssl_keyfile,
        "ssl.key.password": _clear(settings.kafka_ssl_key_password),
    }
    # Errors reach the caller as exceptions; librdkafka's own lines would only repeat them.
    return {k: str(v) for k, v in options.items() if v is not None} | {"log_level": 0}


def producer_options(settings: Settings) -> dict[str, Any]:
    """The same for a producer, with the time that a record may take."""
    return client_options(settings) | {"delivery.timeout.ms": settings.kafka_delivery_timeout_ms}


def consumer_options(settings: Settings) -> dict[str, Any]:
    """The same for a consumer, with its group and what it reads of transactions."""
    return client_options(settings) | {
        "group.id": settings.kafka_consumer_group,
        # Said always: the clients' own defaults differ.
        "isolation.level": settings.kafka_isolation_level,
    }


def spark_options(settings: Settings) -> dict[str, str]:
    """Connection settings as options of Spark's Kafka source (Java client's names).

    By the isolation level Spark plans: up to the last stable offset, or to the high watermark.
    """
    values = {
        "kafka.bootstrap.servers": settings.kafka_bootstrap_servers,
        "kafka.isolation.level": settings.kafka_isolation_level,
        "kafka.security.protocol": settings.kafka_security_protocol,
        "kafka.sasl.mechanism": settings.kafka_sasl_mechanism,
        "kafka.sasl.jaas.config": _jaas(settings),
        "kafka.ssl.truststore.location": settings.kafka_ssl_cafile,
        "kafka.ssl.truststore.type": settings.kafka_ssl_cafile and "PEM",
    }
    return {k: str(v) for k, v in values.items() if v is not None} | _spark_key_store(settings)


def _spark_key_store(settings: Settings) -> dict[str, str]:
    """The client certificate as PEM text: Java wants certificate and key in one store."""
    certificate = settings.kafka_ssl_certfile
    if certificate is None:
        return {}
    return {
        "kafka.ssl.keystore.type": "PEM",
        "kafka.ssl.keystore.certificate.chain": read_pem(certificate),
        "kafka.ssl.keystore.key": _plain_key(settings),
    }


def _plain_key(settings: Settings) -> str:
    """The client's key as Java takes it: PKCS#8, without the password.

    Java 17 reads none of the ways in which today's tools encrypt a key, nor the older PEM forms.
    """
    text = read_pem(settings.kafka_ssl_keyfile)
    password = _clear(settings.kafka_ssl_key_password) if ENCRYPTED in text else None
    try:
        key = load_pem_private_key(text.encode(), None if password is None else password.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(
            f"KAFKA_SSL_KEYFILE: {settings.kafka_ssl_keyfile} cannot be used, or not with "
            f"KAFKA_SSL_KEY_PASSWORD: {error}"
        ) from None
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _jaas(settings: Settings) -> str | None:
    if settings.kafka_sasl_password is None:
        return None
    plain = settings.kafka_sasl_mechanism == "PLAIN"
    module = "plain.PlainLoginModule" if plain else "scram.ScramLoginModule"
    user, password = settings.kafka_sasl_username, _clear(settings.kafka_sasl_password)
    return (
        f"org.apache.kafka.common.security.{module} required "
        f"username={_quote(user)} password={_quote(password)};"
    )


def _quote(text: str | None) -> str:
    escaped = (text or "").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _clear(secret: Any) -> str | None:
    return None if secret is None else str(secret.get_secret_value())


def retry_query(ask: Callable[[], Answer], seconds: float = ANSWER_SECONDS) -> Answer:
    """Repeat a query for some seconds while the cluster answers with a transient error.

    Raises:
        KafkaException: another failure, or the last one.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in _PASSING or time.monotonic() > deadline:
                raise
        time.sleep(_PASSING_SECONDS)


@contextmanager
def wrap_failures(failure: str, kind: type[ScorestreamError] = KafkaError) -> Iterator[None]:
    """Turn errors of the client library into one that says what failed.

    Args:
        failure: could not be done.
        kind: of the error that is raised.
    """
    try:
        yield
    except KafkaException as error:
        cause = error.args[0]
        reason = cause.str() if isinstance(cause, Errors) else str(cause)
        raise kind(f"{failure}: {_add_setting_name(reason)}") from None
    except TimeoutError:
        raise kind(f"{failure}: no answer") from None


def _add_setting_name(reason: str) -> str:
    """Librdkafka's words, with the settings of ours that it speaks of."""
    named = [f"{ours}: {reason}" for theirs, ours in _OUR_NAMES.items() if theirs in reason]
    return named[0] if named else reason
