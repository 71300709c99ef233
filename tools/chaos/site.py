"""What a scenario works with: an installation, its load, its jobs, and the checker."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient
from deltalake import DeltaTable

from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.infra.kafka.connection import client_options
from tools.chaos.job import Job
from tools.chaos.load import messages, steady_load
from tools.chaos.proxy import Proxy
from tools.local.broker import LocalBroker
from tools.testkit.delivery_checks import AS_DEX_V1, Delivered, check_delivery
from tools.testkit.expectations import Expected
from tools.testkit.installation import Installation, Offset, offsets_of

CAUGHT_UP_SECONDS = 300.0
# Asking tables and topics takes time from the job.
ASK_SECONDS = 0.5
HOOKS = PROJECT_ROOT / "tools" / "chaos" / "hooks"


@dataclass
class Site:
    """One scenario's installation.

    Attributes:
        folder: its own.
        broker: of all scenarios; who kills it starts it again.
        proxy: in front of the broker, for jobs that are started with `proxied=True`.
        chance: seeded for the scenario.
    """

    folder: Path
    broker: LocalBroker
    proxy: Proxy
    chance: random.Random
    jobs: list[Job] = field(default_factory=list)
    recovery_seconds: float | None = None
    delivered: Delivered | None = None
    _fault_at: float | None = None

    def __post_init__(self) -> None:
        self.installation = Installation(self.folder, self.broker.bootstrap_servers)
        self.installation.cluster.ensure_topics()
        # For what befalls topics.
        self.admin = AdminClient(client_options(self.installation.settings))

    @property
    def warehouse(self) -> Path:
        return Path(self.installation.settings.warehouse)

    @property
    def checkpoint(self) -> Path:
        """The stream's checkpoint, where nothing else was asked for."""
        return self.warehouse / "_checkpoints" / "stream_scores"

    def move_to(self, store: str) -> None:
        """Have everything of the scenario in an object store from now on; nothing is moved.

        Args:
            store: URI of a bucket.
        """
        self.installation = replace(self.installation, store=store)

    def publish(self, count: int) -> None:
        """Publish so many messages of the load."""
        self.installation.publish(messages(self.chance, count))

    @contextmanager
    def load(self, rate: float = 50) -> Iterator[None]:
        """Publish `rate` messages a second meanwhile."""
        # Its own chance: how fast the thread is must not change what the scenario draws.
        chance = random.Random(self.chance.random())
        installation = self.installation
        with steady_load(installation.cluster, installation.input_topic, chance, rate):
            yield

    def start(
        self,
        *arguments: str,
        inject: Sequence[dict[str, Any]] = (),
        proxied: bool = False,
        supervised: bool = False,
        spark: str = "",
        prefix: Sequence[str] = (),
        **environment: str,
    ) -> Job:
        """Start a job, `stream_scores` unless arguments name another.

        Args:
            arguments: of `./spark-submit.sh`, or options of `stream_scores` alone.
            inject: faults in its Python processes: see `tools/chaos/hooks/sitecustomize.py`.
            proxied: whether it reaches the broker through the proxy.
            supervised: whether it is started again after a failure.
            spark: further arguments of spark-submit.
            prefix: the beginning of a command that runs another.
            environment: further variables.
        """
        given = os.environ | self.installation.environment
        # What is killed leaves temporary files: these go with the scenario.
        given["TMPDIR"] = given["SPARK_LOCAL_DIRS"] = str(self._temporary())
        if proxied:
            given["KAFKA_BOOTSTRAP_SERVERS"] = self.proxy.address
        given["SPARK_SUBMIT_ARGS"] += f" {spark}"
        if inject:
            given["CHAOS_INJECT"] = json.dumps(list(inject))
            given["CHAOS_FOLDER"] = str(self.folder)
            given["PYTHONPATH"] = f"{HOOKS}:{given.get('PYTHONPATH', '')}"
        if not arguments or arguments[0].startswith("--"):
            arguments = ("stream_scores", *arguments)
        if supervised:
            arguments = ("--supervise", *arguments)
        log = self.folder / f"job-{len(self.jobs)}.log"
        job = Job(list(arguments), given | environment, log, prefix)
        self.jobs.append(job)
        return job

    def mark_fault(self) -> None:
        """Note that the fault happens now; recovery is counted from here."""
        self._fault_at = time.monotonic()

    def catch_up(self, job: Job, seconds: float = CAUGHT_UP_SECONDS) -> None:
        """Wait until all that is published now is in Delta and in Kafka."""
        expected = self.published()
        job.wait_for(
            "the end of the backlog", lambda: self.count_rows() >= expected, seconds, ASK_SECONDS
        )
        job.wait_for(
            "the last results", lambda: self.count_results() >= expected, seconds, ASK_SECONDS
        )
        if self._fault_at is not None:
            self.recovery_seconds = time.monotonic() - self._fault_at

    def published(self) -> int:
        """Messages of the input topic."""
        return self._records(self.installation.input_topic)

    def count_results(self) -> int:
        """Messages of both result topics, repeated ones counted."""
        settings = self.installation.settings
        topics = (settings.kafka_success_topic, settings.kafka_failure_topic)
        return sum(map(self._records, topics))

    def count_rows(self) -> int:
        """Rows of `scores` and `rejects`, as the tables' logs count them."""
        root = self.installation.settings.warehouse
        tables = [f"{root}/{name}" for name in ("scores", "rejects")]
        return sum(DeltaTable(table).count() for table in tables if DeltaTable.is_deltatable(table))

    def find_unstored(self) -> set[Offset]:
        """Offsets of the input topic that no table has."""
        tables = [self.installation.rows(name) for name in ("scores", "rejects")]
        return self.installation.offsets() - {at for rows in tables for at in offsets_of(rows)}

    def faulted_processes(self) -> list[int]:
        """The processes in which injected faults have happened so far."""
        contents = (path.read_text(encoding="ascii") for path in self.folder.glob("fault-*"))
        return [int(text) for text in contents if text]

    def finish(self, job: Job) -> None:
        """Stop a job in peace."""
        assert job.stop() == 0, job.output[-4000:]

    def drain(self, *arguments: str, **options: Any) -> None:
        """Run the stream until it has drained; options as of :meth:`start`."""
        job = self.start("--available-now", *arguments, **options)
        assert job.wait() == 0, job.output[-6000:]
        if self._fault_at is not None and self.recovery_seconds is None:
            self.recovery_seconds = time.monotonic() - self._fault_at

    def wait_for_refusal(self, job: Job, code: int, *texts: str) -> str:
        """Wait until a job ends with an exit code and one clear line; the line."""
        assert job.wait() == code, f"exit code {job.process.returncode}:\n{job.output[-6000:]}"
        # Spark's own log lines, which are JSON, may tell the whole story.
        told = [line for line in job.output.splitlines() if not line.startswith("{")]
        assert not any(line.startswith("Traceback") for line in told), job.output[-6000:]
        lines = [line for line in told if all(text in line for text in texts)]
        assert lines, f"no line with {texts}:\n{job.output[-6000:]}"
        return lines[-1]

    def check(self, expected: Expected = AS_DEX_V1) -> Delivered:
        """Check all invariants; counts the repeated messages in Kafka."""
        self.delivered = check_delivery(self.installation, expected)
        return self.delivered

    def close(self) -> None:
        """Kill whatever still runs."""
        for job in self.jobs:
            job.kill()
        self.proxy.pass_through()

    def _temporary(self) -> Path:
        folder = self.folder / "tmp"
        folder.mkdir(exist_ok=True)
        return folder

    def _records(self, topic: str) -> int:
        return sum(self.installation.cluster.end_offsets(topic).values())
