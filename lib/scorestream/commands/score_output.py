"""Prints scores: as a table for people, as JSON lines or CSV with every digit."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal, TextIO

import msgspec
import pyarrow as pa
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from scorestream.infra.display import visible

Format = Literal["table", "json", "csv"]
WIDTH: Final = 140
_encode = msgspec.json.Encoder().encode


def print_scores(batches: Iterator[pa.Table], form: Format, out: TextIO) -> None:
    """Print the scores of all batches, of which the first may be empty and tells the columns."""
    _PRINTERS[form](batches, out)


def _print_json(batches: Iterator[pa.Table], out: TextIO) -> None:
    for batch in batches:
        out.writelines(_encode(_plain(row)).decode() + "\n" for row in batch.to_pylist())


def _print_csv(batches: Iterator[pa.Table], out: TextIO) -> None:
    writer = csv.writer(out, lineterminator="\n")
    for number, batch in enumerate(batches):
        flat = _flattened(batch)
        if number == 0:
            writer.writerow(flat.column_names)
        writer.writerows(map(_text, row.values()) for row in flat.to_pylist())


def _print_table(batches: Iterator[pa.Table], out: TextIO) -> None:
    table = Table("wallet", Column("zscore", justify="right"), "parts", "tags", show_lines=True)
    rows = [row for batch in batches for row in batch.to_pylist()]
    several = len({row["scoring"] for row in rows}) > 1
    for row in rows:
        names = [row["wallet_address"], row["scoring"]]
        table.add_row(
            _cell_of_lines(names if several else names[:1]),
            f"{row['zscore']:.4f}",
            _cell_of_lines(_part_lines(row["breakdown"])),
            _cell_of_lines(row["tags"]),
        )
    Console(file=out, width=None if out.isatty() else WIDTH).print(table)


def _part_lines(breakdown: dict[str, dict[str, float | None] | None]) -> Iterator[str]:
    """A line for each group of parts, and its sum: `lp 749.96 = volume 300.00 + …`."""
    for group, parts in breakdown.items():
        if parts is None:
            # Of another scoring, or of a category that the message does not have.
            continue
        points = {name: value for name, value in parts.items() if value is not None}
        terms = [f"{name.removesuffix('_score')} {value:.2f}" for name, value in points.items()]
        yield f"{group} {sum(points.values()):.2f} = {' + '.join(terms)}"


def _cell_of_lines(lines: Iterable[str]) -> Text:
    return Text("\n".join(map(visible, lines)))


def _flattened(table: pa.Table) -> pa.Table:
    """Fields of structs as columns `group.field`, however deep."""
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    return table


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    # Plain text of a decimal prints zero as 0E-18.
    return row | {"zscore": _text(row["zscore"]), "categories": dict(row["categories"])}


def _text(value: object) -> str:
    """A value in a column of CSV."""
    match value:
        case None:
            return ""
        case Decimal():
            return f"{value:f}"
        case datetime():
            return value.isoformat()
        case list() as items if items and isinstance(items[0], tuple):
            return _encode(dict(items)).decode()
        case list():
            return ", ".join(map(str, value))
    return str(value)


_PRINTERS: Final = {"table": _print_table, "json": _print_json, "csv": _print_csv}
