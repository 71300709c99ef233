"""One execution: a message and mutants, checked as one batch; what breaks is kept."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final, NoReturn
from zlib import crc32

import msgspec

from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.wallets.execution.configured_scoring import build_scoring
from scorestream.wallets.reference.reference_data import load_conf_reference
from tools.chaos.fuzzing.checking import (
    Broken,
    Checker,
    HostileMessage,
    Outcome,
)
from tools.chaos.fuzzing.corpus import read_corpus
from tools.chaos.fuzzing.mutation import mutate
from tools.chaos.fuzzing.records import hostile_metadata

MUTANTS: Final = 127
MAX_BATCH_BYTES: Final = 512 * 1024
MAX_EXECUTION_SECONDS: Final = 10
FOUND: Final = 3
# Every so many executions the slow checks are made, too.
_THOROUGH: Final = 8
_TALLY_SECONDS: Final = 0.5


class Plan(msgspec.Struct):
    """What a fuzzing process is to do.

    Attributes:
        seconds: when it ends at the latest.
        runs: executions after which it ends; 0 for no such limit.
        corpus: folder of the messages to start from.
        work: a folder of its own: the tally, what led to new places, the log.
        findings: folder for messages that break something.
    """

    engine: str
    seconds: int
    runs: int
    seed: int
    corpus: str
    work: str
    findings: str


class Tally(msgspec.Struct):
    """What has been done so far."""

    executions: int = 0
    messages: int = 0
    outcomes: dict[str, int] = {}
    kinds: int = 0
    finding: str = ""


def tally_file(work: str) -> Path:
    """Where a fuzzing process keeps its tally."""
    return Path(work) / "tally.json"


class Execution:
    """Executes one message after the other, and counts."""

    def __init__(self, plan: Plan) -> None:
        conf = PROJECT_ROOT / "conf"
        stable = load_conf_reference(conf).stable_symbols
        self._checker = Checker(build_scoring(conf, "dex-v1", stable))
        self.corpus = list(read_corpus(Path(plan.corpus)).values())
        self._plan = plan
        self._kinds: set[str] = set()
        self._outcomes: Counter[str] = Counter()
        self._executions = self._messages = 0
        self._told = 0.0

    def run(self, value: bytes) -> bool:
        """Check a message among mutants; returns whether a new kind of outcome came up.

        Ends the process with `FOUND` if something breaks, its bytes kept.
        """
        messages = self._batch(value)
        try:
            thorough = self._executions % _THOROUGH == 0
            outcomes = self._checker.check(messages, thorough=thorough)
        except Exception as error:  # noqa: BLE001  whatever it is, it is a finding
            self._found(messages, error)
        return self._count(outcomes)

    def _batch(self, value: bytes) -> list[HostileMessage]:
        random = Random(crc32(value) ^ self._plan.seed)
        batch, size = [HostileMessage(value)], len(value)
        for _ in range(MUTANTS):
            origin = random.choice((value, random.choice(self.corpus)))
            mutant = mutate(origin, random, self.corpus)
            size += len(mutant)
            if size > MAX_BATCH_BYTES:
                break
            batch.append(HostileMessage(mutant, *hostile_metadata(random)))
        return batch

    def _count(self, outcomes: Sequence[Outcome]) -> bool:
        kinds = len(self._kinds)
        self._kinds.update(outcome.kind for outcome in outcomes)
        self._outcomes.update(outcome.code for outcome in outcomes)
        self._executions += 1
        self._messages += len(outcomes)
        if time.monotonic() > self._told + _TALLY_SECONDS or self._executions == self._plan.runs:
            self.tell()
        return len(self._kinds) > kinds

    def tell(self, finding: str = "") -> None:
        """Bring the tally up to date."""
        tally = Tally(
            self._executions, self._messages, dict(self._outcomes), len(self._kinds), finding
        )
        file = tally_file(self._plan.work)
        file.with_suffix(".new").write_bytes(msgspec.json.encode(tally))
        file.with_suffix(".new").replace(file)
        self._told = time.monotonic()

    def _found(self, messages: Sequence[HostileMessage], error: Exception) -> NoReturn:
        alone = [m for m in messages if self._breaks(m)]
        files = [self._keep(message.value) for message in alone[:1] or messages]
        text = f"{type(error).__name__}: {error}"
        self.tell(f"{text}\n{', '.join(map(str, files))}")
        os._exit(FOUND)

    def _breaks(self, message: HostileMessage) -> bool:
        try:
            self._checker.check([message])
        except Exception:  # noqa: BLE001  whatever it is, it is a finding
            return True
        return False

    def _keep(self, value: bytes) -> Path:
        folder = Path(self._plan.findings)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / hashlib.sha256(value).hexdigest()[:16]
        file.write_bytes(value)
        return file


def bound_memory(megabytes: int) -> None:
    """From now on the process gets no more address space than this."""
    size = megabytes * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


def bound_time() -> None:
    """Make `signal.alarm` raise: what takes too long is broken."""

    def _too_long(*_: object) -> NoReturn:
        raise Broken(f"a batch took longer than {MAX_EXECUTION_SECONDS} s")

    signal.signal(signal.SIGALRM, _too_long)
