"""How far a backfill is: a bar on a terminal, a log line a chunk elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import structlog
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from scorestream.wallets.execution.scoring_task import ScoringReport
from scorestream.wallets.predictors.batch_models import ModelUse

log = structlog.get_logger()


class Progress:
    """Counts what is done; sizes are in whatever unit the items have."""

    def __init__(self, size: int, run_id: str) -> None:
        self.scores = self.rejects = self._messages = 0
        self._lacking: Counter[str] = Counter()
        self._told: set[str] = set()
        self._run_id = run_id
        self._size = size
        self._done = 0
        self._started = time.monotonic()
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:.0f} %"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("scoring", total=max(size, 1))

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def skip(self, size: int) -> None:
        """Note what an earlier start has done."""
        self._done += size
        self._bar.advance(self._task, size)
        if size:
            log.info("backfill_goes_on", run_id=self._run_id, done=self._share())

    def advance(self, size: int, reports: Sequence[ScoringReport]) -> None:
        """Note a committed chunk."""
        self._done += size
        self.scores += sum(report.scores for report in reports)
        self.rejects += sum(sum(report.rejects.values()) for report in reports)
        for use in (use for report in reports for use in report.models):
            self._lacking[use.version.name] += use.lacking
            self._tell_problem(use)
        self._messages += sum(report.messages for report in reports)
        rate = self._messages / (time.monotonic() - self._started)
        self._bar.update(
            self._task, advance=size, description=f"{self.scores:,} wallets, {rate:,.0f} a second"
        )
        if self._bar.disable:
            log.info(
                "backfill",
                run_id=self._run_id,
                scores=self.scores,
                rejects=self.rejects,
                rate=round(rate, 1),
                done=self._share(),
            )

    @property
    def summary(self) -> str:
        """What this start has done, in one line."""
        lacking = [f"{n:,} without a value of {name}" for name, n in self._lacking.items() if n]
        return ", ".join([f"{self.scores:,} scores", *lacking, f"{self.rejects:,} rejects"])

    def _tell_problem(self, use: ModelUse) -> None:
        """Warn of a model that fails, of each of its reasons once."""
        if use.problem is not None and use.problem not in self._told:
            self._told.add(use.problem)
            log.warning("model_failed", model=str(use.version), reason=use.problem)

    def _share(self) -> float:
        return round(self._done / max(self._size, 1), 3)
