"""The one family of errors: each says what failed, where, and what to do."""

from __future__ import annotations


class ScorestreamError(Exception):
    """Base of every error that Scorestream raises on purpose.

    Attributes:
        exit_code: of a job that it ends.
    """

    exit_code = 1


class ConfigurationError(ScorestreamError):
    """Settings or configuration files are wrong; the message lists every problem at once."""


class KafkaError(ScorestreamError):
    """The broker, a topic or its offsets are not as the job needs them."""


class CheckpointError(ScorestreamError):
    """The checkpoint does not belong to this topic or warehouse, or is damaged."""


class InUseError(ScorestreamError):
    """Another process holds what only one may use at a time."""


class InputError(ScorestreamError):
    """What a job is given to read or write is not there, or not as it should be."""


class BackfillError(ScorestreamError):
    """A backfill cannot go on under the run id given."""


class DeltaError(ScorestreamError):
    """A Delta table is not as the job needs it."""


class ReferenceDataError(ScorestreamError):
    """Reference data (tokens, thresholds) cannot be had or is malformed."""


class ReferenceDataUnavailable(ReferenceDataError):
    """The database that holds reference data cannot be read just now."""


class ReferenceDataInvalid(ReferenceDataError):
    """Reference data is malformed or incomplete; the message names the items and fields."""


class QueryError(ScorestreamError):
    """A statement given to `query` is not one read-only statement."""


class TrainingError(ScorestreamError):
    """A model cannot be learned from the data or by the configuration given."""


class ModelError(ScorestreamError):
    """A registered model, or the store of models, is not there or not as it should be."""


class DriftFound(ScorestreamError):
    """Data are not like those of a training any more; the message names the columns."""

    exit_code = 3
