"""Peers: the same scores by other means, which the benchmark compares itself with.

A peer scores what the workload generates: well-formed messages, each wallet once. It writes the
wallet's address, `final_score` and the features of docs/scoring.md, and does nothing beyond that:
no rejects, no history, no restart where it was stopped.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

THREADS: Final = 2
# Polars reads this once, when it is imported, and this module is imported before it.
os.environ.setdefault("POLARS_MAX_THREADS", str(THREADS))


@dataclass(frozen=True)
class StreamCase:
    """What a stream peer has to do: read `count` messages of a topic, publish their scores.

    Attributes:
        bootstrap_servers: `host:port` of the broker.
        topic: the messages, nothing else, in partitions 0 to `partitions` - 1.
        success_topic: exists, and takes the scores.
        count: messages in the topic.
        partitions: of the topic.
        folder: empty, for Delta tables and whatever else a peer keeps.
    """

    bootstrap_servers: str
    topic: str
    success_topic: str
    count: int
    partitions: int
    folder: Path


@dataclass(frozen=True)
class FileCase:
    """What a backfill peer has to do: score a file of messages into a Parquet file.

    Attributes:
        path: JSON lines, a message a line.
        folder: exists, and takes the Parquet file.
        count: messages in the file.
    """

    path: Path
    folder: Path
    count: int

    @property
    def scores(self) -> Path:
        """The Parquet file (a folder of several, where Spark writes it)."""
        return self.folder / "scores.parquet"
