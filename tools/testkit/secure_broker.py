"""A broker with a listener for each way to connect, and the certificates that go with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from tools.local.broker import LocalBroker
from tools.local.ports import HOST, controller_port, free_port

USER: Final = "scorer"
# With characters that JAAS, URLs and properties files have to escape.
PASSWORD: Final = "Canary4Sasl of/a+login&%=\\"
KEY_PASSWORD: Final = "Canary4Key of/a+key&%=\\"
LISTENERS: Final = {"SASL_SSL": "SASL_SSL", "MUTUAL": "SSL", "SASL_PLAINTEXT": "SASL_PLAINTEXT"}
SCRAM_JAAS: Final = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


@dataclass(frozen=True)
class SecureBroker:
    """The broker, its ports by listener, and the folder of the PEM files.

    Every certificate names 127.0.0.1 only, not `localhost`.
    """

    local: LocalBroker
    ports: dict[str, int]
    pem: Path

    def environment(self, listener: str, **changes: str) -> dict[str, str]:
        """Settings with which the job connects to a listener."""
        server = {"KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{self.ports[listener]}"}
        return (
            server
            | {"KAFKA_SECURITY_PROTOCOL": LISTENERS[listener]}
            | self._own(listener)
            | changes
        )

    def _own(self, listener: str) -> dict[str, str]:
        ca = {"KAFKA_SSL_CAFILE": str(self.pem / "ca.pem")}
        user = {"KAFKA_SASL_USERNAME": USER, "KAFKA_SASL_PASSWORD": PASSWORD}
        return {
            "SASL_SSL": {"KAFKA_SASL_MECHANISM": "SCRAM-SHA-512", **user, **ca},
            "MUTUAL": ca | self.client_certificate,
            "SASL_PLAINTEXT": {"KAFKA_SASL_MECHANISM": "SCRAM-SHA-256", **user},
        }[listener]

    @property
    def client_certificate(self) -> dict[str, str]:
        return {
            "KAFKA_SSL_CERTFILE": str(self.pem / "client.pem"),
            "KAFKA_SSL_KEYFILE": str(self.pem / "client.key"),
            "KAFKA_SSL_KEY_PASSWORD": KEY_PASSWORD,
        }


@contextmanager
def secure_broker(folder: Path) -> Iterator[SecureBroker]:
    """Start the broker with certificates of its own below `folder`, and stop it."""
    pem = folder / "pem"
    pem.mkdir(parents=True)
    make_certificates(pem)
    port = free_port()
    ports = dict(zip(LISTENERS, free_ports(len(LISTENERS), {port, port + 1}), strict=True))
    local = LocalBroker(
        port, folder / "kafka", overrides=listeners(port, ports, pem), users={USER: PASSWORD}
    )
    try:
        local.start()
        yield SecureBroker(local, ports, pem)
    finally:
        local.stop()


def free_ports(count: int, taken: set[int]) -> list[int]:
    ports: set[int] = set()
    while len(ports) < count:
        ports |= {free_port()} - taken
    return sorted(ports)


def make_certificates(folder: Path) -> None:
    """An authority, which knows broker and client, and another, which knows a stranger."""
    authority, other = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    other.cert_pem.write_to_path(folder / "other_ca.pem")
    broker = authority.issue_cert(HOST)
    (folder / "broker.pem").write_bytes(pkcs8(broker, NoEncryption()) + certificates(broker))
    for name, issuer in (("client", authority), ("stranger", other)):
        leaf = issuer.issue_cert(f"{name}.test")
        (folder / f"{name}.pem").write_bytes(certificates(leaf))
        key = pkcs8(leaf, BestAvailableEncryption(KEY_PASSWORD.encode()))
        (folder / f"{name}.key").write_bytes(key)


def certificates(leaf: trustme.LeafCert) -> bytes:
    return b"".join(blob.bytes() for blob in leaf.cert_chain_pems)


def pkcs8(leaf: trustme.LeafCert, encryption: KeySerializationEncryption) -> bytes:
    key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def listeners(port: int, ports: dict[str, int], pem: Path) -> dict[str, str]:
    """Properties of the broker: its own listener in the clear, and one for each way to connect."""
    clients = {"PLAINTEXT": port, **ports}
    addresses = [f"{name}://{HOST}:{number}" for name, number in clients.items()]
    protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **LISTENERS}
    return {
        "listeners": ",".join([*addresses, f"CONTROLLER://{HOST}:{controller_port(port)}"]),
        "advertised.listeners": ",".join(addresses),
        "listener.security.protocol.map": ",".join(f"{k}:{v}" for k, v in protocols.items()),
        "inter.broker.listener.name": "PLAINTEXT",
        "sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": SCRAM_JAAS,
        "listener.name.sasl_ssl.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config": SCRAM_JAAS,
        "listener.name.sasl_plaintext.sasl.enabled.mechanisms": "SCRAM-SHA-256",
        "listener.name.mutual.ssl.client.auth": "required",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(pem / "broker.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(pem / "ca.pem"),
    }
