"""The commit of a batch to its tables."""

from __future__ import annotations

from collections.abc import Sequence

from scorestream.infra.delta.data_files import DataFile
from scorestream.infra.delta.table import Table
from scorestream.infra.delta.warehouse import Warehouse


def commit_batch(
    warehouse: Warehouse,
    tables: Sequence[Table],
    files: Sequence[DataFile],
    transaction: tuple[str, int] | None,
    *,
    attempt: tuple[str, int] | None = None,
) -> None:
    """Commit the files of a batch, those of the last table first.

    Args:
        warehouse: whose tasks wrote the files.
        tables: the tables of the batch.
        files: all files of the batch.
        transaction: (run id, batch id), which each table takes only once; None to take it always.
        attempt: which attempt at the batch it is, where a table may lack something of a batch that
            it has taken: see `Warehouse.append`.
    """
    for table in reversed(tables):
        ours = [file for file in files if file.table == table.name]
        once = transaction and (f"{transaction[0]}/{table.name}", transaction[1])
        warehouse.append(table, ours, once, attempt)
