"""A local Kafka broker: KRaft, one node that is broker and controller, on the loopback only.

``python -m tools.local.broker start|stop|status`` runs it from the plain jars of
`.jars/broker` as a process of its own, which outlives the shell. ``KAFKA_PORT`` (9092) moves it;
the controller takes the next port. Data, log and pid are below `.kafka/<port>/` and survive a
restart.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.infra.errors import KafkaError, ScorestreamError
from tools.local.broker_properties import cluster_id, properties_text, server_properties
from tools.local.ports import (
    HOST,
    controller_port,
    is_free,
    port_of,
)

_LOG_LINES_SHOWN: Final = 20
_POLL_SECONDS: Final = 0.05
# A killed broker is no process of ours some time before the system has closed its sockets.
_PORTS_RELEASED_SECONDS: Final = 3.0

_LOGGING: Final = PROJECT_ROOT / "conf" / "kafka-log4j2.properties"
_SERVER: Final = "kafka.Kafka"
_FORMATTER: Final = "kafka.tools.StorageTool"
_SCRAM_MECHANISMS: Final = ("SCRAM-SHA-256", "SCRAM-SHA-512")
# The serial collector starts quickest and suits so small a heap. The formatter runs for a second,
# so its code is not worth the second compiler; the server's is.
_JVM_OPTIONS: Final = ("-Xmx512m", "-XX:+UseSerialGC")
_FORMATTER_OPTIONS: Final = ("-XX:TieredStopAtLevel=1",)
_SERVER_OPTIONS: Final = ("-XX:+ExitOnOutOfMemoryError",)
# By way of a shell the broker becomes no child of ours: no zombie is left when it ends.
_DETACHED: Final = 'log=$1; shift; "$@" </dev/null >>"$log" 2>&1 & echo $!'


@dataclass(frozen=True)
class LocalBroker:
    """A local broker, running or not; its whole state is in its folder.

    Attributes:
        port: of the clients' listener; the controller takes the next one.
        folder: holds `data`, `server.properties`, `broker.log` and `broker.pid`.
        overrides: properties of the broker beside our own, or in their place.
        client: librdkafka settings with which the start-up check connects, where `overrides`
            make the listener ask for more (SASL, TLS).
        users: passwords of SCRAM users by name, without double quotes; they count from the first
            start on, when the data folder is made, and are kept there salted and hashed.
        jars: the broker's class path.
    """

    port: int
    folder: Path
    overrides: Mapping[str, str] = field(default_factory=dict)
    client: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    jars: Path = PROJECT_ROOT / ".jars" / "broker"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> LocalBroker:
        """The checkout's own broker.

        Raises:
            ConfigurationError: ``KAFKA_PORT`` is no port.
        """
        port = port_of(environ)
        return cls(port, PROJECT_ROOT / ".kafka" / str(port))

    @property
    def bootstrap_servers(self) -> str:
        """`host:port` for clients."""
        return f"{HOST}:{self.port}"

    @property
    def log(self) -> Path:
        """The file that has the broker's log."""
        return self.folder / "broker.log"

    @property
    def data(self) -> Path:
        """The folder that has the partitions."""
        return self.folder / "data"

    @property
    def pid(self) -> int | None:
        """The process of this broker, None if it does not run."""
        try:
            pid = int(self._pid_file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return pid if self._is_ours(pid) else None

    def start(self, timeout: float = 60) -> bool:
        """Start the broker and wait until it answers.

        1. Refuse if jars or ports are missing.  2. Write the configuration, format the data once.
        3. Start the process.  4. Wait until it answers.

        Args:
            timeout: seconds until it must answer.

        Returns:
            False if it ran already (with whatever configuration it was started).

        Raises:
            KafkaError: it cannot start, or does not answer in time; it is stopped then.
        """
        with self._locked():
            if self.pid is not None:
                self._wait_until_it_answers(timeout, self._log_size())
                return False
            self._require_jars()
            self._require_ports()
            self._configure()
            self._format()
            log_size = self._log_size()
            self._launch()
            self._wait_until_it_answers(timeout, log_size)
            return True

    def stop(self, timeout: float = 30) -> bool:
        """Stop the broker, by force if it does not end in `timeout` seconds.

        Returns:
            False if it did not run.

        Raises:
            KafkaError: even force did not end it.
        """
        if not self.folder.exists():
            return False
        with self._locked():
            return self._stop(timeout)

    @property
    def _pid_file(self) -> Path:
        return self.folder / "broker.pid"

    @property
    def _properties_file(self) -> Path:
        return self.folder.resolve() / "server.properties"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One start or stop at a time; the lock ends with the process that holds it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _require_jars(self) -> None:
        if not any(self.jars.glob("kafka_*.jar")):
            raise KafkaError(f"no broker in {self.jars}: run `make setup`")

    def _require_ports(self) -> None:
        used_ports = [
            port
            for port in (self.port, controller_port(self.port))
            if not _wait(partial(is_free, port), _PORTS_RELEASED_SECONDS)
        ]
        if used_ports:
            raise KafkaError(
                f"port {' and '.join(map(str, used_ports))} of {HOST} is taken by another process: "
                f"stop that, or set KAFKA_PORT (now {self.port}; the next port is needed too)"
            )

    def _configure(self) -> None:
        properties = server_properties(self.port, self.data.resolve(), self.overrides)
        self._properties_file.write_text(properties_text(properties), encoding="ascii")

    def _format(self) -> None:
        if (self.data / "meta.properties").exists():
            return
        arguments = ("format", "--ignore-formatted", "-t", cluster_id(), "-c")
        done = subprocess.run(
            # The passwords come by standard input: arguments are for every process to see.
            [*_java(self.jars, _FORMATTER_OPTIONS, _FORMATTER), "@/dev/stdin"],
            check=False,
            input="\n".join((*arguments, str(self._properties_file), *_scram(self.users))),
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise KafkaError(f"cannot format {self.data}: {_tail(done.stdout + done.stderr)}")

    def _launch(self) -> None:
        command = _java(self.jars, _SERVER_OPTIONS, _SERVER)
        shell = subprocess.run(
            ["/bin/sh", "-c", _DETACHED, "sh", str(self.log), *command, str(self._properties_file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
            check=True,
        )
        self._pid_file.write_bytes(shell.stdout)

    def _wait_until_it_answers(self, timeout: float, log_size: int) -> None:
        admin = AdminClient({**self._quiet_client(), **self.client})
        if _wait(lambda: self.pid is None or _answers(admin), timeout) and self.pid is not None:
            return
        problem = "ended at its start" if self.pid is None else f"did not answer in {timeout:g} s"
        self._stop(timeout=5)
        raise KafkaError(
            f"the broker on {self.bootstrap_servers} {problem}; the end of {self.log}:\n"
            f"{_tail(self._log_since(log_size))}"
        )

    def _quiet_client(self) -> dict[str, str | int]:
        return {
            "bootstrap.servers": self.bootstrap_servers,
            "log_level": 0,  # refused connections are expected here
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 200,
        }

    def _stop(self, timeout: float) -> bool:
        pid = self.pid
        if pid is not None:
            self._signal(pid, signal.SIGTERM)
            if not _wait(lambda: not self._is_ours(pid), timeout):
                self._signal(pid, signal.SIGKILL)
                if not _wait(lambda: not self._is_ours(pid), timeout=10):
                    raise KafkaError(f"the broker (process {pid}) does not end")
        self._pid_file.unlink(missing_ok=True)
        return pid is not None

    def _signal(self, pid: int, number: signal.Signals) -> None:
        """Signal the process if it still is the broker: its pid may be another's by now."""
        if self._is_ours(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _is_ours(self, pid: int) -> bool:
        return f"{_SERVER} {self._properties_file}" in _command_line(pid)

    def _log_size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def _log_since(self, size: int) -> str:
        with self.log.open("rb") as log:
            log.seek(size)
            return log.read().decode(errors="replace")


def _scram(users: Mapping[str, str]) -> list[str]:
    """The formatter's arguments for SCRAM users, each with both mechanisms."""
    return [
        f'--add-scram={mechanism}=[name="{name}",password="{password}"]'
        for name, password in users.items()
        for mechanism in _SCRAM_MECHANISMS
    ]


def _java(jars: Path, options: Sequence[str], main_class: str) -> list[str]:
    logging = f"-Dlog4j2.configurationFile={_LOGGING.as_uri()}"
    return [_executable(), *_JVM_OPTIONS, *options, logging, "-cp", f"{jars}/*", main_class]


def _executable() -> str:
    home = os.environ.get("JAVA_HOME")
    path = shutil.which(f"{home}/bin/java" if home else "java")
    if path is None:
        where = f"in JAVA_HOME={home}" if home else "on the PATH, and JAVA_HOME is not set"
        raise KafkaError(f"the broker needs Java 17 or newer: there is none {where}")
    return path


def _answers(admin: AdminClient) -> bool:
    try:
        return bool(admin.list_topics(timeout=0.5).brokers)
    except KafkaException:
        return False


def _command_line(pid: int) -> str:
    """The arguments of a process, separated by spaces; empty if there is none (or a zombie)."""
    try:
        content = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        if Path("/proc/self").exists():
            return ""
    else:
        return content.replace(b"\0", b" ").decode(errors="replace")
    command = ["ps", "-ww", "-o", "command=", "-p", str(pid)]  # macOS has no /proc
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _wait(condition: Callable[[], bool], timeout: float) -> bool:
    """Whether the condition came true within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-_LOG_LINES_SHOWN:]) or "(empty)"


def _start(broker: LocalBroker) -> str:
    began = time.monotonic()
    if not broker.start():
        return f"Kafka already runs on {broker.bootstrap_servers} (process {broker.pid})"
    seconds = time.monotonic() - began
    return f"Kafka answers on {broker.bootstrap_servers} after {seconds:.1f} s ({broker.folder})"


def _stop(broker: LocalBroker) -> str:
    stopped = broker.stop()
    return f"Kafka on {broker.bootstrap_servers} {'is stopped' if stopped else 'did not run'}"


def _status(broker: LocalBroker) -> str:
    if broker.pid is None:
        raise KafkaError(f"Kafka does not run on {broker.bootstrap_servers}")
    return f"Kafka runs on {broker.bootstrap_servers} (process {broker.pid}, {broker.folder})"


_COMMANDS: Final = {"start": _start, "stop": _stop, "status": _status}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status: 0, or 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.local.broker",
        description="A local Kafka broker on 127.0.0.1; KAFKA_PORT (9092) sets its port.",
    )
    parser.add_argument("command", choices=_COMMANDS)
    command = _COMMANDS[parser.parse_args(arguments).command]
    try:
        print(command(LocalBroker.from_environment()))
    except ScorestreamError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
