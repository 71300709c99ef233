"""The trial of a version: it is applied to a few wallets before it reaches a batch."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from scorestream.infra.errors import ModelError
from scorestream.infra.mlflow.model_version import Version
from scorestream.infra.spark.process_isolation import IsolatedProcess
from scorestream.wallets.predictors.apply import model_schema, predict_values, warm_up
from scorestream.wallets.scorers.registry import DECLARATIONS

if TYPE_CHECKING:
    from scorestream.infra.mlflow.model_copies import ModelCopies

TRIAL_SECONDS: Final = 120.0
# Every column of three wallets: a little, nothing, a lot.
_TRIAL_VALUES: Final = (1, 0, 600)


def try_version(copies: ModelCopies, version: Version) -> None:
    """Copy a version into the warehouse, load it, and apply it to a few wallets.

    In an isolated process, as a model may crash or hang.

    Raises:
        Exception: it cannot be had, loaded or applied, or has no value for any of them.
    """
    copies.fetch(version)
    with IsolatedProcess(TRIAL_SECONDS, warm_up) as process:
        values = process.run(partial(predict_values, version, build_trial_rows()))
    if values.null_count == len(values):
        raise ModelError(f"model {version} has no value for any wallet that it was tried with")


def build_trial_rows() -> pa.Table:
    """Build a model's input for the wallets of the trial, of whatever scorers declare."""
    schema = model_schema(DECLARATIONS)
    return pa.table([pa.array(_TRIAL_VALUES, kind) for kind in schema.types], schema=schema)
