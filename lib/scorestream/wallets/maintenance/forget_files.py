"""`forget` in files beside the tables: finds the address, and treats each file by its kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from pyarrow.fs import FileType

from scorestream.infra.delta.data_files import COMPRESSION
from scorestream.infra.delta.row_deletion import read_row_groups
from scorestream.infra.delta.table import Table, identifiers_anywhere
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.storage.file_kinds import FileKind, Treatment, file_kind_of
from scorestream.infra.storage.filesystem import (
    delete_files,
    filesystem_of,
    list_folder,
    read_text,
    replace_file,
    write_text,
)
from scorestream.infra.storage.locks import exclusive_lock
from scorestream.wallets.maintenance.erasure_filters import WalletFilter
from scorestream.wallets.maintenance.warehouse_files import FILE_KINDS
from scorestream.wallets.schema.tables import TABLES, WALLET_COLUMNS

BLOCK_BYTES: Final = 8 * 1024 * 1024


class WarehouseContents(NamedTuple):
    """What is below a warehouse, beside the tables that `wallets/schema` declares.

    Attributes:
        tables: Delta tables.
        files: paths of all other files, from the warehouse.
    """

    tables: list[Table]
    files: list[str]


class ForgottenFile(NamedTuple):
    """A file that holds the address, and what `forget` did, or would do, with it."""

    path: str
    content: str
    treatment: Treatment


def list_contents(warehouse: Warehouse) -> WarehouseContents:
    """List the tables and files below a warehouse that `wallets/schema` does not declare."""
    declared, contents = {table.name for table in TABLES}, WarehouseContents([], [])
    folders = [""]
    while folders:
        folder = folders.pop()
        names, files = list_folder(f"{warehouse.root}/{folder}".rstrip("/"))
        if "_delta_log" in names:
            contents.tables.append(_table(warehouse, folder))
            continue
        paths = [f"{folder}/{name}".lstrip("/") for name in names]
        folders += [path for path in paths if path not in declared and _is_looked_at(path)]
        contents.files.extend(f"{folder}/{name}".lstrip("/") for name in files)
    return WarehouseContents(
        sorted(contents.tables, key=lambda table: table.name), sorted(contents.files)
    )


def _is_looked_at(folder: str) -> bool:
    return file_kind_of(f"{folder}/", FILE_KINDS).treatment != Treatment.NOTHING


def _table(warehouse: Warehouse, name: str) -> Table:
    """A table whose columns the user has chosen: training data, or the output of a command."""
    schema = pa.schema(DeltaTable(f"{warehouse.root}/{name}").schema())
    return Table(
        name, schema, "found below the warehouse", identifiers_anywhere(schema, WALLET_COLUMNS)
    )


def forget_in_file(
    warehouse: Warehouse, path: str, wallet: WalletFilter, *, dry_run: bool
) -> ForgottenFile | None:
    """Treat a file below the warehouse by its kind, if it holds the address.

    Raises:
        InUseError: another process uses it.
        OSError: it cannot be read or written.
    """
    place = file_kind_of(path, FILE_KINDS)
    if place.treatment == Treatment.NOTHING or not file_contains(
        f"{warehouse.root}/{path}", wallet
    ):
        return None
    if not dry_run:
        _apply_treatment(warehouse, path, place, wallet)
    return ForgottenFile(path, place.content, place.treatment)


def file_contains(uri: str, wallet: WalletFilter) -> bool:
    """Whether a file holds the address; reads columns of Parquet, unpacks compressed files."""
    if uri.endswith(".parquet"):
        try:
            return any(pc.any(_match_rows(rows, wallet)).as_py() for rows in read_row_groups(uri))
        except pa.ArrowInvalid:
            pass  # None that could be read: what it is, its bytes say.
    return any(wallet.search.is_in(block) for block in _blocks(uri, wallet.search.longest))


def _blocks(uri: str, overlap: int) -> Iterator[bytes]:
    """Read a file in blocks that overlap; none if it is gone by now."""
    try:
        yield from _parts(uri, overlap, compression="detect")
    except FileNotFoundError:
        return
    except OSError:
        # It is not what its name's ending says.
        yield from _parts(uri, overlap, compression=None)


def _parts(uri: str, overlap: int, compression: str | None) -> Iterator[bytes]:
    filesystem, path = filesystem_of(uri)
    part = b""
    with filesystem.open_input_stream(path, compression=compression) as file:
        while block := file.read(BLOCK_BYTES):
            part = part[-overlap:] + block
            yield part


def _apply_treatment(
    warehouse: Warehouse, path: str, place: FileKind, wallet: WalletFilter
) -> None:
    uri = f"{warehouse.root}/{path}"
    with ExitStack() as locks:
        if place.running is not None:
            used = f"{uri.partition('.wallets/')[0]}{place.running}"
            locks.enter_context(exclusive_lock(used, "wait for it, and run it again"))
        if place.treatment == Treatment.ROWS:
            _without_rows(uri, wallet)
        elif place.treatment == Treatment.DELETED:
            delete_files([uri])
        elif place.treatment == Treatment.REDACTED:
            write_text(uri, wallet.search.redact((read_text(uri) or "").encode()).decode())


def _without_rows(uri: str, wallet: WalletFilter) -> None:
    """Rewrite a Parquet file without the wallet's rows; all row groups stay, as plans name them."""
    filesystem, path = filesystem_of(uri)
    schema = pq.read_schema(path, filesystem=filesystem)
    with (
        replace_file(uri) as (there, new),
        pq.ParquetWriter(new, schema, filesystem=there, compression=COMPRESSION) as writer,
    ):
        for rows in read_row_groups(uri):
            remaining = rows.filter(pc.invert(_match_rows(rows, wallet)))
            writer.write_table(remaining, row_group_size=max(remaining.num_rows, 1))
    folder, _, name = path.rpartition("/")
    # What Spark keeps beside each of its files, and would compare.
    if filesystem.get_file_info(f"{folder}/.{name}.crc").type != FileType.NotFound:
        filesystem.delete_file(f"{folder}/.{name}.crc")


def _match_rows(rows: pa.Table, wallet: WalletFilter) -> pa.ChunkedArray:
    table = Table("", rows.schema, "", identifiers_anywhere(rows.schema, WALLET_COLUMNS))
    return wallet.matches(table, rows)
