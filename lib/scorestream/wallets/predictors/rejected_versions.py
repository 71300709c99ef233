"""Versions that failed, and how long each is left alone."""

from __future__ import annotations

import time
from typing import Final

from scorestream.infra.mlflow.model_version import Version

MAX_PAUSE_SECONDS: Final = 3600.0


class RejectedVersions:
    """Versions that are not tried for a while, twice as long after each failure."""

    def __init__(self) -> None:
        # When each may be tried again (monotonic seconds), and its last pause.
        self._known: dict[Version, tuple[float, float]] = {}

    def reject(self, version: Version, pause: float) -> None:
        """Leave a version alone: first for `pause` seconds, then for twice the last pause."""
        last = self._known.get(version, (0.0, 0.0))[1]
        pause = min(max(pause, 2 * last), MAX_PAUSE_SECONDS)
        self._known[version] = (time.monotonic() + pause, pause)

    def may_try(self, version: Version) -> bool:
        """Whether the pause of a version is over, or it has none."""
        return time.monotonic() >= self._known.get(version, (0.0, 0.0))[0]
