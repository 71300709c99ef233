"""The one family of errors: each says what failed, where, and what to do."""

from __future__ import annotations

from typing import ClassVar, Final


class ScorestreamError(Exception):
    """Base of every error that Scorestream raises on purpose.

    Attributes:
        exit_code: of the job that ends with it. 1: what failed may be well again at the next
            start. 2: settings are wrong. 3: no start succeeds until somebody has seen to it.
            4: a check found what it looks for.
    """

    exit_code: ClassVar[int] = 1


class ConfigurationError(ScorestreamError):
    """Settings or configuration files are wrong; the message lists every problem at once."""

    exit_code = 2


class KafkaError(ScorestreamError):
    """The broker, a topic or its offsets are not as the job needs them."""


class LostOffsetsError(KafkaError):
    """Offsets that were not processed yet are gone from the input topic, or the topic itself is."""

    exit_code = 3


class OffsetsGoneError(LostOffsetsError):
    """Offsets that a batch is to fetch are gone from the input topic."""


class TooLargeError(KafkaError):
    """A record is larger than its topic takes."""

    exit_code = 3


class CheckpointError(ScorestreamError):
    """The checkpoint does not belong to this topic or warehouse, or is damaged."""

    exit_code = 3


class InUseError(ScorestreamError):
    """Another process holds what only one may use at a time."""

    exit_code = 3


class InputError(ScorestreamError):
    """What a job is given to read or write is not there, or not as it should be."""


class BackfillError(ScorestreamError):
    """A backfill cannot go on under the run id given."""


class DeltaError(ScorestreamError):
    """A Delta table is not as the job needs it."""


class DamagedTableError(DeltaError):
    """The log of a Delta table has a commit that cannot be read."""

    exit_code = 3


class DiskFullError(ScorestreamError):
    """There is no space left where the job writes."""


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

    exit_code = 4


def _with_subclasses(kind: type[ScorestreamError]) -> list[type[ScorestreamError]]:
    return [kind, *(each for child in kind.__subclasses__() for each in _with_subclasses(child))]


# By their names, under which errors come from other processes.
ERROR_CLASSES: Final = {kind.__name__: kind for kind in _with_subclasses(ScorestreamError)}
