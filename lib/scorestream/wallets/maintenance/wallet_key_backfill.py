"""Fills in wallet keys of rows that are older than the column `wallet_key`."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from scorestream.infra.delta.commit_retries import retry_commit
from scorestream.infra.delta.file_rewriting import MEGABYTE, write_files
from scorestream.infra.delta.optimize import OptimizeOptions, list_table_files
from scorestream.infra.delta.table import Table
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.wallets.core.wallet_keys import stored_wallet_keys
from scorestream.wallets.schema.columns import WALLET_ADDRESS, WALLET_KEY


def fill_wallet_keys(warehouse: Warehouse, table: Table) -> int:
    """Fill in the missing wallet keys; returns of how many rows."""
    if WALLET_KEY.name not in table.columns.names:
        return 0
    action = f"wallet keys of {warehouse.path(table)}"
    return retry_commit(action, lambda: _fill_wallet_keys(warehouse, table))


def _fill_wallet_keys(warehouse: Warehouse, table: Table) -> int:
    all_files = list_table_files(warehouse, table)
    asked = [
        replace(all_files, stored=[file])
        for file in all_files.stored
        if file.nulls.get(WALLET_KEY.name) != 0
    ]
    counts = [sum(_count_without_keys(rows) for rows in file.rows()) for file in asked]
    lacking = [file.stored[0] for file, count in zip(asked, counts, strict=True) if count]
    if lacking:
        files = replace(all_files, stored=lacking)
        added = write_files(
            files, map(_add_keys, files.rows()), OptimizeOptions.target_megabytes * MEGABYTE
        )
        warehouse.replace(table, files.names, added, "wallet keys")
    return sum(counts)


def _count_without_keys(rows: pa.RecordBatch) -> int:
    key, address = rows[WALLET_KEY.name], rows[WALLET_ADDRESS.name]
    return int(pc.sum(pc.and_(key.is_null(), address.is_valid())).as_py() or 0)


def _add_keys(rows: pa.RecordBatch) -> pa.RecordBatch:
    number = rows.schema.names.index(WALLET_KEY.name)
    return rows.set_column(number, WALLET_KEY.name, stored_wallet_keys(rows))
