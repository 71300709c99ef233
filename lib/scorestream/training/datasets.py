"""The data of one training: read, checked, split."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from scorestream.errors import ConfigurationError, TrainingError
from scorestream.io.delta.warehouse import Warehouse
from scorestream.settings import Settings
from scorestream.training.config import UseCase
from scorestream.training.derived import with_derived
from scorestream.training.distributed import LargeTable, refuse_unfit
from scorestream.training.hashing import Hashes, content_hash, row_hashes
from scorestream.training.ingest import query_table, read_at_most, read_table
from scorestream.training.kept_rows import keep_rows, kept_rows, training_table
from scorestream.training.reports import first_problems
from scorestream.training.splitting import held_out
from scorestream.training.validation import Checked, Problem, check_training

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Source:
    """Raw rows and where they came from.

    Attributes:
        large: the whole table, of which they are only a sample.
    """

    name: str
    rows: pa.Table
    large: LargeTable | None = None


@dataclass(frozen=True)
class Dataset:
    """Rows that can be learned from.

    Attributes:
        rows: checked, with ids and derived features.
        of_source: which rows of the source they are.
        held_out: which of them are.
        hashes: of their features and target.
        problems: why other rows cannot be learned from.
        data_version: 16 hex digits over all rows, bad ones too.
    """

    source: str
    rows: pa.Table
    of_source: Flags
    held_out: Flags
    hashes: Hashes
    problems: list[Problem]
    data_version: str


def choose_source(
    use_case: UseCase, config: Path, data: str | None, append: str | None, settings: Settings
) -> Source:
    """The rows to train on.

    Args:
        config: the use case's file.
        data: instead of those that are kept or configured.
        append: rows that are added to the kept ones first.

    Raises:
        ConfigurationError: no data are configured.
        InputError: they cannot be read, or a column is missing.
        DeltaError: rows cannot be kept.
    """
    if data is not None:
        return _read(data, data, use_case, settings)
    warehouse = Warehouse(settings.warehouse)
    if append is not None:
        _append(use_case, config, append, settings)
    kept = kept_rows(use_case, warehouse)
    if kept is not None:
        return Source(f"{training_table(use_case).name} version {kept[1]}", kept[0])
    return configured_source(use_case, config, settings)


def configured_source(use_case: UseCase, config: Path, settings: Settings) -> Source:
    """The rows that the configuration names.

    Raises:
        ConfigurationError: it names none.
        InputError: they cannot be read.
    """
    if use_case.sql is not None:
        return Source("sql", query_table(use_case.sql, Warehouse(settings.warehouse)))
    if use_case.table is not None:
        path = f"{settings.warehouse}/{use_case.table}"
        return _read(use_case.table, path, use_case, settings)
    if use_case.data is None:
        raise ConfigurationError(
            f"{config}: data, sql, table: none is given: add one, or give --data"
        )
    there = use_case.data
    path = there if "://" in there else str((config.parent / there).resolve())
    return _read(use_case.data, path, use_case, settings)


def _read(name: str, path: str, use_case: UseCase, settings: Settings) -> Source:
    """A table, or a sample of one that is too large for this process."""
    rows = read_at_most(path, use_case.collect_at_most)
    if rows is not None:
        return Source(name, rows)
    if use_case.when_more == "sample":
        sample = LargeTable.of(path, settings).sample(use_case.collect_at_most)
        return Source(f"{name} (a sample)", sample)
    refuse_unfit(use_case)
    large = LargeTable.of(path, settings)
    return Source(name, large.sample(use_case.collect_at_most), large)


def _append(use_case: UseCase, config: Path, path: str, settings: Settings) -> None:
    warehouse = Warehouse(settings.warehouse)
    fresh = accepted(check_training(read_table(path), use_case, path), use_case, path)
    if kept_rows(use_case, warehouse) is None:
        source = configured_source(use_case, config, settings)
        first = accepted(check_training(source.rows, use_case, source.name), use_case, source.name)
        keep_rows(use_case, warehouse, first)
    keep_rows(use_case, warehouse, fresh)


def prepared(use_case: UseCase, source: Source) -> Dataset:
    """Check, clean and split rows.

    1. find bad rows
    2. drop, keep or refuse duplicates
    3. compute derived features
    4. hold rows out

    Raises:
        InputError: a column is missing, or has a type that cannot be meant.
        TrainingError: too many rows are bad, or too few are left.
    """
    # 1.
    checked = accepted(check_training(source.rows, use_case, source.name), use_case, source.name)
    # 2.
    checked = _without_duplicates(checked, use_case, source.name)
    good = checked.rows.filter(pa.array(~checked.bad))
    # 3.
    rows = with_derived(good, use_case.derived)
    # 4.
    names = [*use_case.columns, use_case.target.column]
    return Dataset(
        source.name,
        rows,
        ~checked.bad,
        held_out(good, use_case),
        row_hashes(good.select(names)),
        checked.problems,
        _version(source, checked, good),
    )


def accepted(checked: Checked, use_case: UseCase, where: str) -> Checked:
    """Checked rows, unless too many of them are bad.

    Raises:
        TrainingError: they are.
    """
    bad, rows = int(checked.bad.sum()), checked.rows.num_rows
    if bad == rows or bad > use_case.validation.most_bad * rows:
        raise TrainingError(
            f"{where}: {bad:,} of {rows:,} rows are bad, validation.most_bad is "
            f"{use_case.validation.most_bad:.0%}: {first_problems(checked.problems)}"
        )
    return checked


def _without_duplicates(checked: Checked, use_case: UseCase, where: str) -> Checked:
    if use_case.validation.duplicates == "keep":
        return checked
    hashes = pd.Series(row_hashes(checked.rows)).mask(checked.bad)
    first = pd.Series(np.arange(len(hashes))).groupby(hashes).transform("first")
    repeats = np.flatnonzero(first.notna() & (first != np.arange(len(hashes))))
    found = [
        Problem(row + 1, "(all)", f"is row {int(first[row]) + 1} again") for row in repeats.tolist()
    ]
    if found and use_case.validation.duplicates == "refuse":
        raise TrainingError(f"{where}: {len(found):,} duplicates: {first_problems(found)}")
    return Checked(checked.rows, [*checked.problems, *found])


def _version(source: Source, checked: Checked, good: pa.Table) -> str:
    """Good rows count by their values, bad ones as they came."""
    bad = source.rows.filter(pa.array(checked.bad))
    texts = f"{content_hash(good)}{content_hash(bad) if bad.num_rows else ''}"
    return hashlib.sha256(texts.encode()).hexdigest()[:16]
