"""Ports of the loopback for local brokers and other servers."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Final

from scorestream.infra.errors import ConfigurationError

HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 9092
_MAX_PORT: Final = 65535


def port_of(environ: Mapping[str, str]) -> int:
    """The broker's port as the environment has it.

    Raises:
        ConfigurationError: ``KAFKA_PORT`` is no port that leaves one for the controller.
    """
    text = environ.get("KAFKA_PORT") or str(DEFAULT_PORT)
    if text.isascii() and text.isdigit() and 0 < int(text) < _MAX_PORT:
        return int(text)
    raise ConfigurationError(f"KAFKA_PORT={text!r}: expected a port, 1 to {_MAX_PORT - 1}")


def controller_port(port: int) -> int:
    """The port of the controller of the broker on `port`."""
    return port + 1


def free_port() -> int:
    """A port of the loopback that is free now, and the controller's with it."""
    while True:
        with socket.create_server((HOST, 0)) as listener:
            port = int(listener.getsockname()[1])
        if port < _MAX_PORT and is_free(port) and is_free(controller_port(port)):
            return port


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of the loopback."""
    try:
        socket.create_server((HOST, port)).close()
    except OSError:
        return False
    return True
