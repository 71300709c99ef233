"""What bounds every scorer: memory, and parsers on the same bytes; and the core alone."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import orjson

from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.wallets.core.messages import Message
from scorestream.wallets.core.pipeline import score_messages
from scorestream.wallets.execution.configured_scoring import load_scoring
from tools.benchmarks.machine import MEGABYTE
from tools.benchmarks.workload import AS_OF

Work = Callable[[Sequence[bytes]], Any]
# The size of the batches that the product hands to the core.
BATCH = 400


def memcpy(values: Sequence[bytes]) -> None:
    b"".join(values)


def orjson_loads(values: Sequence[bytes]) -> None:
    """Every document is dropped as soon as it is parsed, so that its memory is used again."""
    for value in values:
        orjson.loads(value)


def orjson_kept(values: Sequence[bytes]) -> None:
    """The documents of a batch are kept until its end, as by anything that works on a batch."""
    for start in range(0, len(values), BATCH):
        [orjson.loads(value) for value in values[start : start + BATCH]]


def msgspec_typed(values: Sequence[bytes]) -> None:
    decode = msgspec.json.Decoder(Message).decode
    for value in values:
        decode(value)


def core(values: Sequence[bytes]) -> None:
    """Decode, features and `dex-v1`, without the history's columns."""
    _core(values, include_transactions=False)


def core_with_history(values: Sequence[bytes]) -> None:
    _core(values, include_transactions=True)


def _core(values: Sequence[bytes], *, include_transactions: bool) -> None:
    conf = PROJECT_ROOT / "conf"
    scoring = load_scoring(conf=conf)
    for start in range(0, len(values), BATCH):
        batch = values[start : start + BATCH]
        moments = np.full(len(batch), AS_OF)
        score_messages(batch, moments, (scoring,), include_transactions=include_transactions)


LIMITS: dict[str, Work] = {
    "memcpy": memcpy,
    "orjson.loads": orjson_loads,
    "orjson.loads, batch kept": orjson_kept,
    "msgspec, typed": msgspec_typed,
    "core": core,
    "core with history": core_with_history,
}


def rate(work: Work, values: Sequence[bytes], processes: int) -> float:
    """MB/s of some work, done by that many processes that each have their share of the values."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(processes + 1)

    def share(number: int) -> None:
        mine = values[number::processes]
        barrier.wait()
        work(mine)
        barrier.wait()

    workers = [context.Process(target=share, args=(n,)) for n in range(processes)]
    for worker in workers:
        worker.start()
    barrier.wait()
    started = time.perf_counter()
    barrier.wait()
    seconds = time.perf_counter() - started
    for worker in workers:
        worker.join()
    return sum(map(len, values)) / MEGABYTE / seconds
