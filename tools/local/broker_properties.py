"""The local broker's configuration: one node, whose records may have any time."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from scorestream.infra.kafka.connection import MAX_MESSAGE_BYTES
from tools.local.ports import HOST, controller_port

_UNLIMITED: Final = str(2**63 - 1)


def server_properties(
    port: int, data: Path, overrides: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The broker's configuration (`server.properties`).

    Args:
        port: of the clients' listener.
        data: folder of the partitions (`log.dirs`).
        overrides: properties that replace or extend these, e.g. listeners with SASL or TLS.
    """
    return {
        **_addresses(port),
        "log.dirs": str(data),
        "auto.create.topics.enable": "false",  # Spark's sink would create a misspelt topic
        "num.partitions": "4",
        "message.max.bytes": str(MAX_MESSAGE_BYTES),
        "replica.fetch.max.bytes": str(MAX_MESSAGE_BYTES),
        **_TIMESTAMPS,
        **_SINGLE_NODE,
        **(overrides or {}),
    }


def _addresses(port: int) -> dict[str, str]:
    controller = f"{HOST}:{controller_port(port)}"
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": f"1@{controller}",
    }


# Timestamps of records are event times: years old, or ahead of the clock, and in any order.
_TIMESTAMPS: Final = {
    "log.retention.ms": "-1",
    # By default a segment spans at most a week of timestamps: years of history, in order, would
    # be hundreds of segments.
    "log.roll.ms": _UNLIMITED,
    "log.message.timestamp.after.max.ms": _UNLIMITED,
    "log.message.timestamp.before.max.ms": _UNLIMITED,
}

_SINGLE_NODE: Final = {
    "min.insync.replicas": "1",
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    # 128 MiB by default, taken at the start: a quarter of our heap.
    "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
}


def properties_text(properties: Mapping[str, str]) -> str:
    """Properties as a Java properties file, whose escapes are those of JSON strings."""
    return "".join(f"{key}={json.dumps(value)[1:-1]}\n" for key, value in properties.items())


def cluster_id() -> str:
    """A random cluster id: a UUID in URL-safe base64, 22 characters."""
    text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    # The formatter would take a leading hyphen for an option.
    return cluster_id() if text.startswith("-") else text
