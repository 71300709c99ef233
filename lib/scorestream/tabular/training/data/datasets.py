"""The dataset of one training: chooses its source, checks the rows, and splits them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from scorestream.infra.config.settings import Settings
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import ConfigurationError, InputError, TrainingError
from scorestream.tabular.model.derived_features import add_derived_features
from scorestream.tabular.model.validation import CheckedRows, Problem
from scorestream.tabular.training.config.use_case import UseCase
from scorestream.tabular.training.data.hashing import Hashes, content_hash, row_hashes
from scorestream.tabular.training.data.ingest import query_table, read_at_most
from scorestream.tabular.training.data.large_table import LargeTable, refuse_unfit
from scorestream.tabular.training.data.problems import first_problems, problem_counts
from scorestream.tabular.training.data.splitting import select_held_out
from scorestream.tabular.training.data.stored_rows import StoredRows, store_rows
from scorestream.tabular.training.data.totals import Totals, count_in_spark
from scorestream.tabular.training.data.validation import check_training, find_label_type

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Source:
    """Raw rows and where they came from.

    Attributes:
        large: the whole table, if the rows are a sample and training is in Spark.
        sampled: whether the rows are only a sample.
        problems: of bad rows that `--append` did not store.
        left_out: how many rows these are.
    """

    name: str
    rows: pa.Table
    large: LargeTable | None = None
    sampled: bool = False
    problems: tuple[Problem, ...] = ()
    left_out: int = 0


@dataclass(frozen=True)
class Dataset:
    """The good rows of a training.

    Attributes:
        rows: checked rows, with ids and derived features.
        of_source: which rows of the source they are.
        held_out: which of `rows` are held out.
        hashes: of the features and target of each row.
        problems: of the bad rows.
        totals: counts over all rows; those of a large table are more than `rows`.
    """

    source: str
    rows: pa.Table
    of_source: Flags
    held_out: Flags
    hashes: Hashes
    problems: list[Problem]
    totals: Totals


def choose_source(
    use_case: UseCase,
    config: Path,
    data: str | None,
    append: str | None,
    *,
    settings: Settings,
    warehouse: Warehouse,
) -> Source:
    """Read the rows to train on.

    Args:
        config: the use case's file.
        data: path of rows to use instead of the stored or configured ones.
        append: path of rows to store first, behind those stored before.

    Raises:
        ConfigurationError: no data are configured.
        InputError: rows cannot be read, a column is missing, or rows are too many to be stored.
        TrainingError: too many rows to store are bad, or rows are more than can be trained on.
        DeltaError: rows cannot be stored.
    """
    if data is not None:
        return _read(data, data, use_case, settings)
    problems: tuple[Problem, ...] = ()
    left_out = 0
    if append is not None:
        problems, left_out = _append(use_case, config, append, settings, warehouse=warehouse)
    stored = StoredRows.of(use_case, warehouse)
    if stored is None:
        return read_configured_source(use_case, config, settings, warehouse)
    source = _read(stored.name, stored.path, use_case, settings)
    return replace(source, problems=problems, left_out=left_out)


def read_configured_source(
    use_case: UseCase, config: Path, settings: Settings, warehouse: Warehouse
) -> Source:
    """Read the rows that the configuration names.

    Raises:
        ConfigurationError: it names none.
        InputError: they cannot be read.
    """
    if use_case.sql is not None:
        return Source("sql", query_table(use_case.sql, warehouse, use_case.collect_at_most))
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
    """Read a table, or a sample of one that is too large for this process."""
    rows = read_at_most(path, use_case.collect_at_most)
    if rows is not None:
        return Source(name, rows)
    if use_case.when_more == "sample":
        sample = LargeTable.of(path, settings).sample(use_case.collect_at_most)
        return Source(f"{name} (a sample)", sample, sampled=True)
    refuse_unfit(use_case)
    large = LargeTable.of(path, settings)
    return Source(name, large.sample(use_case.collect_at_most), large, sampled=True)


def _append(
    use_case: UseCase, config: Path, path: str, settings: Settings, *, warehouse: Warehouse
) -> tuple[tuple[Problem, ...], int]:
    """Store the good rows of a table, and before the first table those of the configuration.

    Returns:
        The problems of the bad rows, and how many bad rows there are.
    """
    sources = list(_read_rows_to_store(use_case, config, path, settings, warehouse=warehouse))
    checked = [
        accept_rows(check_training(s.rows, use_case, s.name), use_case, s.name) for s in sources
    ]
    for source, one in zip(sources, checked, strict=True):
        store_rows(use_case, warehouse, one, find_label_type(source.rows, use_case))
    problems = tuple(
        replace(problem, text=f"{problem.text} ({source.name})")
        for source, one in zip(sources, checked, strict=True)
        for problem in one.problems
    )
    return problems, sum(int(one.bad.sum()) for one in checked)


def _read_rows_to_store(
    use_case: UseCase, config: Path, path: str, settings: Settings, *, warehouse: Warehouse
) -> Iterator[Source]:
    """Read a table, and before it the configured source if no rows are stored yet.

    Both must fit into one process: otherwise only a sample would be stored.
    """
    rows = read_at_most(path, use_case.collect_at_most)
    if rows is None:
        raise _too_many(path, use_case, "append it in parts")
    if StoredRows.of(use_case, warehouse) is None:
        first = read_configured_source(use_case, config, settings, warehouse)
        if first.sampled:
            raise _too_many(first.name, use_case, "raise that for the first --append")
        yield first
    yield Source(path, rows)


def _too_many(name: str, use_case: UseCase, advice: str) -> InputError:
    return InputError(
        f"{name}: holds more than collect_at_most, {use_case.collect_at_most:,} rows, and --append "
        f"keeps all or nothing: {advice}"
    )


def prepare_dataset(use_case: UseCase, source: Source) -> Dataset:
    """Check, clean and split rows.

    1. Find bad rows.
    2. Drop, keep or refuse duplicates.
    3. Compute derived features.
    4. Hold rows out, and count.

    Raises:
        InputError: a column is missing, or has a type that cannot be meant.
        TrainingError: too many rows are bad, or too few are left.
    """
    # 1. Find bad rows.
    checked = accept_rows(check_training(source.rows, use_case, source.name), use_case, source.name)
    # 2. Drop, keep or refuse duplicates.
    checked = _find_duplicates(checked, use_case, source.name)
    good = checked.rows.filter(pa.array(~checked.bad))
    # 3. Compute derived features.
    rows = add_derived_features(good, use_case.derived)
    # 4. Hold rows out, and count.
    names = [*use_case.columns, use_case.target.column]
    is_held_out, problems = select_held_out(good, use_case), [*source.problems, *checked.problems]
    if source.large is not None:
        totals = count_in_spark(use_case, source.large)
    else:
        version, bad = _version(source, checked, good), source.left_out + int(checked.bad.sum())
        kinds = problem_counts(problems)
        totals = Totals(good.num_rows, int(is_held_out.sum()), bad, kinds, version)
    hashes = row_hashes(good.select(names))
    return Dataset(source.name, rows, ~checked.bad, is_held_out, hashes, problems, totals)


def accept_rows(checked: CheckedRows, use_case: UseCase, where: str) -> CheckedRows:
    """Return checked rows, unless too many of them are bad.

    Raises:
        TrainingError: too many rows are bad.
    """
    bad, rows = int(checked.bad.sum()), checked.rows.num_rows
    if bad == rows or bad > use_case.validation.most_bad * rows:
        raise TrainingError(
            f"{where}: {bad:,} of {rows:,} rows are bad, validation.most_bad is "
            f"{use_case.validation.most_bad:.0%}: {first_problems(checked.problems)}"
        )
    return checked


def _find_duplicates(checked: CheckedRows, use_case: UseCase, where: str) -> CheckedRows:
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
    return CheckedRows(checked.rows, [*checked.problems, *found])


def _version(source: Source, checked: CheckedRows, good: pa.Table) -> str:
    """The data version: a hash of the good rows' values and of the bad rows as they came."""
    # Other columns may be of types that have no texts.
    names = [name for name in checked.rows.column_names if name in source.rows.column_names]
    bad = source.rows.select(names).filter(pa.array(checked.bad))
    texts = f"{content_hash(good)}{content_hash(bad) if bad.num_rows else ''}"
    return hashlib.sha256(texts.encode()).hexdigest()[:16]
