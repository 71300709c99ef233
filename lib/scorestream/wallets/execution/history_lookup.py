"""One wallet's rows, or a few wallets', out of the history of all.

Files and row groups whose bounds leave no room for a wallet are not read. That is little where the
table is clustered by wallet (`compact_tables`), and what was written since lies in small files:
these never change, so each worker keeps their rows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from cachetools import LRUCache, cached

from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.storage.filesystem import filesystem_of
from scorestream.wallets.core import schemas
from scorestream.wallets.core.legs import flat_column
from scorestream.wallets.core.rules import FLAT_COLUMNS
from scorestream.wallets.core.wallet_keys import stored_wallet_keys
from scorestream.wallets.schema.tables import TRANSACTIONS

SMALL_ROWS: Final = 20_000
CACHE_BYTES: Final = 256 * 1024 * 1024
_LEAVES: Final = [
    *(name for name in schemas.WALLET_ROWS.names if name not in FLAT_COLUMNS),
    *(
        f"{leg}.{FLAT_COLUMNS[name].part.nested}"
        for name in schemas.WALLET_ROWS.names
        if name in FLAT_COLUMNS
        for leg in FLAT_COLUMNS[name].legs
    ),
]

_LOWEST: Final = "min.wallet_key"
_HIGHEST: Final = "max.wallet_key"
_NO_KEY: Final = "null_count.wallet_key"
_KEY_BOUNDS: Final = ("path", _LOWEST, _HIGHEST, _NO_KEY)


class WalletFile(NamedTuple):
    """A data file of `transactions`, and which wallet keys it may hold.

    Attributes:
        lowest: least key, or the beginning of it; None if not known.
        highest: greatest key, or the beginning of it; None if not known.
    """

    uri: str
    lowest: str | None
    highest: str | None


class _Group(NamedTuple):
    rows: int
    lowest: str | None
    highest: str | None


def wallet_files(warehouse: Warehouse) -> list[WalletFile]:
    """All data files of `transactions`, with the wallets that they may hold."""
    root = warehouse.path(TRANSACTIONS)
    found = warehouse.file_statistics(TRANSACTIONS)
    rows = found.select([name for name in _KEY_BOUNDS if name in found.column_names])
    return [
        WalletFile(f"{root}/{row['path']}", row.get(_LOWEST), row.get(_HIGHEST))
        # Nobody knows whose the rows without a key are.
        if row.get(_NO_KEY) == 0
        else WalletFile(f"{root}/{row['path']}", None, None)
        for row in rows.to_pylist()
    ]


def read_wallets(files: Iterable[WalletFile], keys: Sequence[str]) -> pa.Table:
    """The rows (`WALLET_ROWS`) of wallets, in no order.

    Args:
        files: all data files of `transactions`.
        keys: keys of the wallets.
    """
    wanted = sorted(keys)
    found = [
        rows
        for file in files
        if _may_hold(wanted, file.lowest, file.highest)
        for rows in _read(file.uri, wanted)
    ]
    return pa.concat_tables([schemas.WALLET_ROWS.empty_table(), *found])


def _may_hold(wanted: Sequence[str], lowest: str | None, highest: str | None) -> bool:
    if lowest is None or highest is None:
        return True
    first = bisect_left(wanted, lowest)
    # Statistics may have cut a long key short: then all that begin so may be in it.
    return first < len(wanted) and wanted[first][: len(highest)] <= highest


def _read(uri: str, wanted: Sequence[str]) -> Iterator[pa.Table]:
    groups = _groups(uri)
    numbers = [i for i, group in enumerate(groups) if _may_hold(wanted, *group[1:])]
    if numbers:
        small = sum(group.rows for group in groups) <= SMALL_ROWS
        rows = _small(uri) if small else _wallet_rows(uri, numbers)
        yield rows.filter(pc.is_in(rows["wallet_key"], value_set=pa.array(wanted)))


@cached(LRUCache(maxsize=100_000))
def _groups(uri: str) -> list[_Group]:
    filesystem, path = filesystem_of(uri)
    with pq.ParquetFile(path, filesystem=filesystem) as file:
        metadata = file.metadata
    names = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
    key = names.index("wallet_key") if "wallet_key" in names else None
    return [_group(metadata.row_group(i), key) for i in range(metadata.num_row_groups)]


def _group(group: pq.RowGroupMetaData, key: int | None) -> _Group:
    bounds = None if key is None else group.column(key).statistics
    # Rows of before there was a key have none; nobody knows whose they are without looking.
    if bounds is None or not bounds.has_min_max or bounds.null_count != 0:
        return _Group(group.num_rows, None, None)
    return _Group(group.num_rows, bounds.min, bounds.max)


@cached(LRUCache(maxsize=CACHE_BYTES, getsizeof=lambda rows: rows.nbytes + 1024))
def _small(uri: str) -> pa.Table:
    return _wallet_rows(uri, None)


def _wallet_rows(uri: str, groups: Sequence[int] | None) -> pa.Table:
    filesystem, path = filesystem_of(uri)
    with pq.ParquetFile(path, filesystem=filesystem) as file:
        numbers = range(file.metadata.num_row_groups) if groups is None else groups
        rows = file.read_row_groups(list(numbers), columns=_LEAVES, use_threads=False)
    return wallet_rows(rows.combine_chunks())


def wallet_rows(rows: pa.Table) -> pa.Table:
    """Rows of `transactions` as `WALLET_ROWS`."""
    # Without `usd_value`: the legs are needed for the order of rows, it is computed from them.
    arrays = [_column(rows, field.name).cast(field.type) for field in schemas.WALLET_ROWS]
    return pa.Table.from_arrays(arrays, schema=schemas.WALLET_ROWS)


def _column(rows: pa.Table, name: str) -> pa.ChunkedArray:
    if name == "wallet_key":
        return stored_wallet_keys(rows)
    return flat_column(rows, name) if name in FLAT_COLUMNS else rows[name]
