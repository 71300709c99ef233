"""Explains why a broker refuses connections: login, certificate, protocol.

librdkafka tries again whatever the reason, and its calls only time out; the reason reaches the
client's error callback.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable
from typing import Final, NamedTuple

from confluent_kafka import KafkaError as Errors
from confluent_kafka.admin import AdminClient

from scorestream.infra.config.settings import Settings

PROBE_SECONDS: Final = 5.0

# Where and when, around the reason: `ssl://host:9093/bootstrap: … (after 8ms in state CONNECT)`.
_AROUND: Final = re.compile(
    r"^(?:\w+://)?(?P<server>\S+?)/(?:bootstrap|\d+): (?P<reason>.*)$", re.DOTALL
)
_WHEN: Final = re.compile(r" \(after \d+ms in state \w+.*$", re.DOTALL)


class ConnectionProblem(NamedTuple):
    """What is wrong, and which settings to correct."""

    what: str
    mend: str


class ConnectionProblems:
    """Collects a client's errors (`error_cb`), and explains them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._errors: list[Errors] = []

    def __call__(self, error: Errors) -> None:
        """Record an error."""
        self._errors.append(error)

    @property
    def reason(self) -> str | None:
        """The client's last error, without place and time; None if there is none."""
        reasons = [_parts(e)[1] for e in self._errors if e.code() != Errors._ALL_BROKERS_DOWN]
        return reasons[-1] if reasons else None

    def forget(self, client: AdminClient) -> None:
        """Forget the errors so far."""
        client.poll(0)
        self._errors.clear()

    def find_problem(self, client: AdminClient) -> str | None:
        """The server, the problem, the settings to correct; None if waiting may help."""
        client.poll(0)
        for error in self._errors:
            server, reason = _parts(error)
            for codes, sign, explain in _KNOWN:
                if error.code() in codes and re.search(sign, reason):
                    return self._sentence(server, explain(self._settings, server, reason))
        if self._errors and self.reason is None:
            return self._sentence(
                self._settings.kafka_bootstrap_servers, _explain_closed(self._settings)
            )
        return None

    def _sentence(self, server: str, refusal: ConnectionProblem) -> str:
        return f"Kafka at {server}: {refusal.what}; mend {refusal.mend}"


def _parts(error: Errors) -> tuple[str, str]:
    """The server, and its words."""
    text = error.str()
    parsed = _AROUND.match(text)
    server, reason = parsed.group("server", "reason") if parsed else ("", text)
    return server, " ".join(_WHEN.sub("", reason).split())


def _explain_login(settings: Settings, _server: str, reason: str) -> ConnectionProblem:
    user, mechanism = settings.kafka_sasl_username, settings.kafka_sasl_mechanism
    return ConnectionProblem(
        f"the login of {user!r} with {mechanism} is refused ({reason})",
        "KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD or KAFKA_SASL_MECHANISM",
    )


def _explain_no_login(settings: Settings, _server: str, _reason: str) -> ConnectionProblem:
    return _explain_protocol(settings, "it takes no login")


def _explain_untrusted(settings: Settings, server: str, reason: str) -> ConnectionProblem:
    why = certificate_problem(server, settings) or reason
    return ConnectionProblem(
        f"its certificate is not trusted ({why})",
        "KAFKA_SSL_CAFILE, or name the server in KAFKA_BOOTSTRAP_SERVERS as its certificate does",
    )


def _explain_no_tls(settings: Settings, _server: str, _reason: str) -> ConnectionProblem:
    return _explain_protocol(settings, "it does not speak TLS")


def _explain_protocol(settings: Settings, problem: str) -> ConnectionProblem:
    protocol = settings.kafka_security_protocol
    return ConnectionProblem(
        f"{problem}, KAFKA_SECURITY_PROTOCOL is {protocol}", "KAFKA_SECURITY_PROTOCOL, or the port"
    )


def _explain_client_certificate(settings: Settings, _server: str, reason: str) -> ConnectionProblem:
    path = settings.kafka_ssl_certfile
    detail = "and none is given" if path is None else f"and {path} is none"
    return ConnectionProblem(
        f"it wants a client certificate that it trusts, {detail} ({reason})",
        "KAFKA_SSL_CERTFILE and KAFKA_SSL_KEYFILE",
    )


def _explain_tls(_settings: Settings, _server: str, reason: str) -> ConnectionProblem:
    return ConnectionProblem(
        f"no TLS connection ({reason})", "the KAFKA_SSL_… settings, or the port"
    )


def _explain_closed(settings: Settings) -> ConnectionProblem:
    protocol = settings.kafka_security_protocol
    problem = f"every connection is closed at once: it does not speak {protocol}, it seems"
    return ConnectionProblem(problem, "KAFKA_SECURITY_PROTOCOL, or the port")


_CONNECTION: Final = frozenset({Errors._SSL, Errors._TRANSPORT})
_LOGIN: Final = frozenset({Errors._AUTHENTICATION})
# The first that fits counts.
_KNOWN: Final[
    tuple[tuple[frozenset[int], str, Callable[[Settings, str, str], ConnectionProblem]], ...]
] = (
    (_LOGIN, r"current SASL state", _explain_no_login),
    (_LOGIN, r"", _explain_login),
    (_CONNECTION, r"certificate verify failed", _explain_untrusted),
    (_CONNECTION, r"PLAINTEXT broker listener|wrong version number", _explain_no_tls),
    (_CONNECTION, r"SSL alert|tls alert", _explain_client_certificate),
    (frozenset({Errors._SSL}), r"", _explain_tls),
)


def certificate_problem(server: str, settings: Settings) -> str | None:
    """What is wrong with a server's certificate, in OpenSSL's words; None if that is not found.

    librdkafka says only that it is not valid, not whether for its name, its date or its issuer.
    """
    host, _, port = server.rpartition(":")
    name = host.strip("[]")
    context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile)
    try:
        with (
            socket.create_connection((name, int(port)), PROBE_SECONDS) as connection,
            context.wrap_socket(connection, server_hostname=name),
        ):
            return None
    except ssl.SSLCertVerificationError as error:
        return str(error.verify_message).rstrip(".")
    except (OSError, ValueError):
        return None
