"""The stream of scores, from settings to the last committed batch."""

from __future__ import annotations

from dataclasses import dataclass

from scorestream.infra.config.settings import Settings
from scorestream.infra.delivery.job import StreamJob, StreamOptions, open_stream
from scorestream.infra.version import code_version
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.execution.configured_scoring import build_scoring
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
        scoring: name of the scoring.
    """

    scoring: str = "dex-v1"


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
        scoring = _configured_scoring(job, options.scoring)
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
            scoring=scoring,
            code_version=code_version(),
            active_models=active_models,
            report=listener.report,
        )
        job.run(transform, listener)


def _configured_scoring(job: StreamJob, name: str) -> Scoring:
    """The scoring over the current reference data, of which the warehouse keeps a copy."""
    reference = current_reference(job.settings, job.warehouse)
    keep_copy(reference, job.warehouse)
    return build_scoring(job.settings.scorestream_conf, name, reference.stable_symbols)
