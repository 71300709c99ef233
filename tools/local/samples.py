"""The messages of `samples/`, as Kafka records."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final

from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.infra.kafka.producer import Record

SAMPLES: Final = PROJECT_ROOT / "samples"
FILES: Final = ("lp_wallets.jsonl", "dex_wallets_2021.jsonl.gz", "broken_messages.jsonl")


def sample_records(names: Iterable[str] = FILES) -> Iterator[Record]:
    """The sample messages of the files named: the wallet as key, `as_of` as timestamp."""
    for name in names:
        with _open(SAMPLES / name) as lines:
            for line in lines:
                yield record_of(json.loads(line))


def record_of(sample: dict[str, Any]) -> Record:
    """A line `{as_of, message}`, or `{as_of, value}` with raw text, as a record."""
    message = sample.get("message")
    if message is None:
        return Record(None, _raw(sample), sample["as_of"] * 1000)
    value = json.dumps(message, separators=(",", ":")).encode()
    return Record(message["wallet_address"].encode(), value, sample["as_of"] * 1000)


def _raw(sample: dict[str, Any]) -> bytes | None:
    if "value_base64" in sample:
        return base64.b64decode(sample["value_base64"])
    value: str | None = sample["value"]
    return None if value is None else value.encode()


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")
