"""The stream of scores, from settings to the last committed batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scorestream.infra.config.settings import Settings
from scorestream.infra.delivery.job import StreamJob, StreamOptions, open_stream
from scorestream.infra.version import code_version
from scorestream.wallets.core.scoring import Scorings
from scorestream.wallets.execution.configured_scoring import (
    DEFAULT_SCORING,
    build_scorings,
    refuse_other_categories,
)
from scorestream.wallets.predictors.active_models import ActiveModels
from scorestream.wallets.predictors.config import load_wallet_models
from scorestream.wallets.reference.snapshots import current_reference, keep_copy
from scorestream.wallets.schema.views import CATALOG
from scorestream.wallets.stream.declaration import score_stream
from scorestream.wallets.stream.listener import ScoreListener
from scorestream.wallets.stream.metrics import StreamMetrics
from scorestream.wallets.stream.transform import ScoreTransform


@dataclass(frozen=True)
class ScoreStreamOptions(StreamOptions):
    """Options of one start of the stream of scores.

    Attributes:
        scorings: names of the scorings.
    """

    scorings: tuple[str, ...] = (DEFAULT_SCORING,)


def run_stream(options: ScoreStreamOptions, settings: Settings) -> None:
    """Run the stream until it is drained, stopped or failed.

    1. topics, lock and lease, session, tables: see :func:`open_stream`
    2. reference data, scoring
    3. registered models
    4. batches

    Raises:
        ScorestreamError: the environment is not as the job needs it, or the query failed.
    """
    wallet_models = load_wallet_models(settings)
    # 1. Topics, lock and lease, session, tables
    with open_stream(score_stream(settings), options, settings, CATALOG) as job:
        # 2. Reference data, scoring
        scorings = _configured_scorings(job, options.scorings)
        # 3. Registered models
        metrics = StreamMetrics()
        metrics.serve(settings)
        active_models = ActiveModels(wallet_models, settings, metrics)
        active_models.start()
        # 4. Batches
        listener = ScoreListener(job.cluster, job.stream.topic, job.line, metrics)
        transform = ScoreTransform(
            settings=settings,
            warehouse=job.warehouse,
            scorings=scorings,
            code_version=code_version(),
            active_models=active_models,
            report=listener.report,
        )
        job.run(transform, listener)


def _configured_scorings(job: StreamJob, names: Sequence[str]) -> Scorings:
    """The scorings over the current reference data, of which the warehouse keeps a copy."""
    reference = current_reference(job.settings, job.warehouse)
    keep_copy(reference, job.warehouse)
    scorings = build_scorings(job.settings.scorestream_conf, names, reference.stable_symbols)
    if job.settings.is_incremental:
        refuse_other_categories(scorings, "WALLET_MESSAGES=incremental")
    return scorings
