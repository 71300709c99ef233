"""Delta table features that readers must support: supported ones are read, others refused.

Column mapping (a column has another name in the files than in the table) is the dangerous one: who
knows nothing of it finds no such column in a file, and reads nulls. Deletion vectors say which rows
of a file are gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import DeltaError as DeltaRsError
from deltalake.exceptions import DeltaProtocolError

from scorestream.infra.errors import DeltaError
from scorestream.infra.storage.filesystem import folder_filesystem

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset  # its import alone takes longer than a micro-batch

MAPPING: Final = "columnMapping"
VECTORS: Final = "deletionVectors"
BATCH_ROWS: Final = 65_536
_PHYSICAL: Final = b"delta.columnMapping.physicalName"
_REMEDY: Final = (
    "let Spark write its rows into another table (CREATE TABLE … AS SELECT …), or drop the feature "
    "(ALTER TABLE … DROP FEATURE {})"
)


def list_reader_features(log: DeltaTable) -> set[str]:
    """The features that a reader of the table has to know; column mapping where names differ."""
    feature_names = {str(name) for name in log.protocol().reader_features or ()} - {MAPPING}
    return feature_names | ({MAPPING} if find_renamed_columns(log) else set())


def find_renamed_columns(log: DeltaTable) -> list[str]:
    """Columns that have, or a field in which has, another name in the table's files."""
    if log.metadata().configuration.get("delta.columnMapping.mode", "none") == "none":
        return []
    return [field.name for field in pa.schema(log.schema()) if _is_renamed(field)]


def _is_renamed(field: pa.Field) -> bool:
    physical = (field.metadata or {}).get(_PHYSICAL, field.name.encode())
    return physical != field.name.encode() or any(map(_is_renamed, _parts(field.type)))


def _parts(kind: pa.DataType) -> list[pa.Field]:
    """The fields below a type."""
    return [kind.field(number) for number in range(kind.num_fields)]


def arrow_dataset(log: DeltaTable) -> Dataset:
    """The rows of a version of a table, as Arrow scans them.

    On Arrow's own file system: a thread of Arrow that lets go of delta-rs's, which is a Python
    object, while the interpreter ends would abort the process (apache/arrow#34314).

    Raises:
        DeltaError: the table has a feature of which Arrow's scans know nothing.
    """
    if find_renamed_columns(log):
        raise refusal(log.table_uri, MAPPING, "read")
    try:
        return log.to_pyarrow_dataset(filesystem=folder_filesystem(log.table_uri))
    except DeltaProtocolError:
        raise refusal(log.table_uri, ", ".join(sorted(list_reader_features(log))), "read") from None


def refuse_unreadable(log: DeltaTable) -> None:
    """Refuse a table of ours whose files say something else than the table: tasks read its files.

    Raises:
        DeltaError: a column has another name in them, or rows in them are gone.
    """
    if log.protocol().min_reader_version == 1:
        return
    if find_renamed_columns(log):
        raise refusal(log.table_uri, MAPPING, "used")
    if VECTORS in list_reader_features(log) and pa.table(log.deletion_vectors()).num_rows:
        raise DeltaError(
            f"{log.table_uri}: has rows that are only marked as deleted ({VECTORS}): let Spark "
            "take them out of the files (ALTER TABLE … SET TBLPROPERTIES "
            "('delta.enableDeletionVectors' = 'false'); REORG TABLE … APPLY (PURGE))"
        )


def read_table_batches(log: DeltaTable, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The rows of a version of a table, file by file, some at a time; first none, with the columns.

    Raises:
        DeltaError: the table has a feature that nothing here can read.
    """
    schema = pa.schema(log.schema())
    names = schema.names if columns is None else list(columns)
    schema = pa.schema([_plain(schema.field(name)) for name in names])
    yield schema.empty_table()
    if not list_reader_features(log):
        for batch in arrow_dataset(log).to_batches(columns=names, batch_size=BATCH_ROWS):
            yield pa.Table.from_batches([batch])
        return
    for batch in _scan(log, names):
        yield pa.Table.from_batches([pa.record_batch(batch)]).cast(schema)


def _scan(log: DeltaTable, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """What delta-rs's own engine reads; in one partition, which keeps rows in their order."""
    wanted = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
    try:
        engine = QueryBuilder().register("rows", log)
        engine.execute("SET datafusion.execution.target_partitions = 1")
        yield from engine.execute(f"SELECT {wanted} FROM rows")  # noqa: S608
    except DeltaRsError as error:
        if "Unsupported table features" not in str(error):
            raise
        features = ", ".join(sorted(list_reader_features(log)))
        raise refusal(log.table_uri, features, "read") from None


def refusal(path: str, feature: str, done: str) -> DeltaError:
    """That a table cannot be read or written for a feature, and what helps."""
    return DeltaError(
        f"{path}: has the Delta feature {feature}, with which it cannot be {done} here: "
        f"{_REMEDY.format(feature)}"
    )


def _plain(field: pa.Field) -> pa.Field:
    """A field without what Delta notes of it: it is of the table, not of the rows."""
    return pa.field(field.name, field.type, field.nullable)
