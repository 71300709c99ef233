"""A wallet's address in files beside the tables: found, and treated as its place says."""

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
from scorestream.infra.delta.row_deletion import row_groups
from scorestream.infra.delta.table import Table, addresses_anywhere
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.storage.filesystem import (
    delete_files,
    entries,
    filesystem_of,
    read_text,
    replaced,
    write_text,
)
from scorestream.infra.storage.locks import exclusive_lock
from scorestream.infra.storage.places import Place, Treatment, place_of
from scorestream.wallets.maintenance.forget_rows import OneWallet
from scorestream.wallets.maintenance.warehouse_places import PLACES
from scorestream.wallets.schema.tables import TABLES, WALLET_COLUMNS

BLOCK_BYTES: Final = 8 * 1024 * 1024


class Contents(NamedTuple):
    """What is below a warehouse beside the tables that `wallets/schema` declares.

    Attributes:
        tables: Delta tables.
        files: paths of all other files, from the warehouse.
    """

    tables: list[Table]
    files: list[str]


class Found(NamedTuple):
    """A file that holds the address, and what was, or would be, done."""

    path: str
    content: str
    treatment: Treatment


def contents(warehouse: Warehouse) -> Contents:
    """All that is below a warehouse, without what `wallets/schema` declares."""
    declared, found = {table.name for table in TABLES}, Contents([], [])
    folders = [""]
    while folders:
        folder = folders.pop()
        names, files = entries(f"{warehouse.root}/{folder}".rstrip("/"))
        if "_delta_log" in names:
            found.tables.append(_table(warehouse, folder))
            continue
        paths = [f"{folder}/{name}".lstrip("/") for name in names]
        folders += [path for path in paths if path not in declared and _is_looked_at(path)]
        found.files.extend(f"{folder}/{name}".lstrip("/") for name in files)
    return Contents(sorted(found.tables, key=lambda table: table.name), sorted(found.files))


def _is_looked_at(folder: str) -> bool:
    return place_of(f"{folder}/", PLACES).treatment != Treatment.NOTHING


def _table(warehouse: Warehouse, name: str) -> Table:
    """A table whose columns the user has chosen: training data, or the output of a command."""
    schema = pa.schema(DeltaTable(f"{warehouse.root}/{name}").schema())
    return Table(
        name, schema, "found below the warehouse", addresses_anywhere(schema, WALLET_COLUMNS)
    )


def forget_in_file(warehouse: Warehouse, path: str, what: OneWallet, dry_run: bool) -> Found | None:
    """Treat a file below the warehouse as its place says, if it holds the address.

    Raises:
        InUseError: another process uses it.
        OSError: it cannot be read or written.
    """
    place = place_of(path, PLACES)
    if place.treatment == Treatment.NOTHING or not file_holds(f"{warehouse.root}/{path}", what):
        return None
    if not dry_run:
        _treat(warehouse, path, place, what)
    return Found(path, place.content, place.treatment)


def file_holds(uri: str, what: OneWallet) -> bool:
    """Whether a file holds the address; of Parquet in a column, of compressed ones unpacked."""
    if uri.endswith(".parquet"):
        try:
            return any(pc.any(_ours(rows, what)).as_py() for rows in row_groups(uri))
        except pa.ArrowInvalid:
            pass  # None that could be read: what it is, its bytes say.
    return any(what.search.is_in(block) for block in _blocks(uri, what.search.longest))


def _blocks(uri: str, overlap: int) -> Iterator[bytes]:
    """The bytes of a file in parts that overlap; of one that is gone by now, none."""
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


def _treat(warehouse: Warehouse, path: str, place: Place, what: OneWallet) -> None:
    uri = f"{warehouse.root}/{path}"
    with ExitStack() as locks:
        if place.running is not None:
            used = f"{uri.partition('.wallets/')[0]}{place.running}"
            locks.enter_context(exclusive_lock(used, "wait for it, and run it again"))
        if place.treatment == Treatment.ROWS:
            _without_rows(uri, what)
        elif place.treatment == Treatment.DELETED:
            delete_files([uri])
        elif place.treatment == Treatment.REDACTED:
            write_text(uri, what.search.without((read_text(uri) or "").encode()).decode())


def _without_rows(uri: str, what: OneWallet) -> None:
    """Write a Parquet file anew without the wallet's rows, with as many groups: plans name them."""
    filesystem, path = filesystem_of(uri)
    schema = pq.read_schema(path, filesystem=filesystem)
    with (
        replaced(uri) as (there, new),
        pq.ParquetWriter(new, schema, filesystem=there, compression=COMPRESSION) as writer,
    ):
        for rows in row_groups(uri):
            kept = rows.filter(pc.invert(_ours(rows, what)))
            writer.write_table(kept, row_group_size=max(kept.num_rows, 1))
    folder, _, name = path.rpartition("/")
    # What Spark keeps beside each of its files, and would compare.
    if filesystem.get_file_info(f"{folder}/.{name}.crc").type != FileType.NotFound:
        filesystem.delete_file(f"{folder}/.{name}.crc")


def _ours(rows: pa.Table, what: OneWallet) -> pa.ChunkedArray:
    table = Table("", rows.schema, "", addresses_anywhere(rows.schema, WALLET_COLUMNS))
    return what.among(table, rows)
