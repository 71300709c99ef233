"""`forget` in trainings and models: deletes sample rows, reports models trained on the wallet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError as DeltaRsError

from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.mlflow.model_copies import COMPLETE, FOLDER, SAMPLES
from scorestream.infra.mlflow.store import ModelStore
from scorestream.infra.storage.file_kinds import FileKind, Treatment, file_kind_of
from scorestream.infra.storage.filesystem import (
    delete_files,
    exists,
    list_folder,
    read_text,
    write_text,
)
from scorestream.tabular.registry.artifact_files import ARTIFACTS
from scorestream.tabular.registry.artifacts import (
    ArtifactFolder,
    TrainingRun,
    list_folders,
    list_trainings,
)
from scorestream.tabular.registry.tracking import MODEL
from scorestream.wallets.maintenance.erasure_filters import WalletFilter
from scorestream.wallets.maintenance.forget_files import ForgottenFile

# As a training notes where its rows came from, if it was a table that has versions.
_VERSION: Final = re.compile(r" version (\d+)$")
_SQL: Final = "sql"


@dataclass(frozen=True)
class AffectedTraining:
    """A training that had rows of the wallet.

    Attributes:
        is_certain: False if its training rows cannot be read any more.
    """

    training: TrainingRun
    is_certain: bool

    def __str__(self) -> str:
        """As it is printed."""
        name = ", ".join(self.training.versions) or f"run {self.training.run_id}"
        has = "has learned" if self.is_certain else "may have learned"
        return f"{name} {has} from rows of it ({self.training.source})"


def find_affected_trainings(
    store: ModelStore, warehouse: Warehouse, holding: Mapping[str, frozenset[str]]
) -> list[AffectedTraining]:
    """Find the trainings that had, or may have had, rows of the wallet.

    Args:
        store: of the trainings.
        warehouse: of the tables.
        holding: names of the data files that hold its rows, by the name of their table.
    """
    with store.errors("trainings"):
        trainings = [(each, _had_rows(each, warehouse, holding)) for each in list_trainings(store)]
    return [AffectedTraining(each, had) for each, had in trainings if had is not None]


def _had_rows(
    training: TrainingRun, warehouse: Warehouse, holding: Mapping[str, frozenset[str]]
) -> bool | None:
    """True: it had rows of the wallet; False: it may have had some; None: it had none."""
    if training.source == _SQL:
        return False if any(holding.values()) else None
    version = _VERSION.search(training.source)
    path = training.source.removesuffix(" (a sample)").partition(" version ")[0].rstrip("/")
    names = [name for name in holding if path == name or path.endswith(f"/{name}")]
    if not names or not holding[names[0]]:
        return None
    try:
        log = DeltaTable(f"{warehouse.root}/{names[0]}")
        log.load_as_version(int(version[1]) if version else _time(training.started))
    except (DeltaRsError, ValueError):
        return False
    learned = {uri.rpartition("/")[2] for uri in log.file_uris()}
    return True if learned & holding[names[0]] else None


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def forget_in_trainings(
    store: ModelStore, wallet: WalletFilter, learned: Sequence[AffectedTraining], *, dry_run: bool
) -> Iterator[ForgottenFile]:
    """Find the files of trainings that hold the address, and treat each by its kind.

    Sample rows of models trained on the wallet are deleted in any case: they may be the wallet's.
    """
    affected = {one.training.run_id for one in learned}
    with store.errors("files of trainings"):
        for training in list_trainings(store):
            for folder in list_folders(store, training):
                is_affected = training.run_id in affected
                yield from _forget_in_folder(
                    folder, wallet, is_affected=is_affected, dry_run=dry_run
                )


def _forget_in_folder(
    folder: ArtifactFolder, wallet: WalletFilter, *, is_affected: bool, dry_run: bool
) -> Iterator[ForgottenFile]:
    for path in list(folder.files()):
        place = _artifact(f"{folder.prefix}{path}")
        if place.treatment == Treatment.NOTHING:
            continue
        content = folder.read(path)
        sample = is_affected and path.removeprefix(f"{MODEL}/") in SAMPLES
        if not (sample or wallet.search.is_in(content)):
            continue
        if not dry_run:
            _apply_treatment(folder, path, content, place, wallet=wallet)
        yield ForgottenFile(f"{folder.uri}/{path}", place.content, place.treatment)


def _artifact(path: str) -> FileKind:
    try:
        return file_kind_of(path, ARTIFACTS)
    except LookupError:
        return FileKind(path, "a file of a training that is none of ours", Treatment.REPORTED)


def _apply_treatment(
    folder: ArtifactFolder, path: str, content: bytes, place: FileKind, *, wallet: WalletFilter
) -> None:
    if place.treatment == Treatment.DELETED:
        folder.delete(path)
    elif place.treatment == Treatment.REDACTED:
        folder.write(path, wallet.search.redact(content))


def forget_in_copies(warehouse: Warehouse, *, dry_run: bool) -> Iterator[ForgottenFile]:
    """Delete sample rows in copies of models, which earlier versions copied with them."""
    for uri in _copies(warehouse):
        noted = read_text(f"{uri}/{COMPLETE}")
        sizes = {} if noted is None else msgspec.json.decode(noted, type=dict[str, int])
        present = [name for name in SAMPLES if exists(f"{uri}/{name}")]
        if present and not dry_run:
            # First what the copy consists of: it is whole at any time.
            left = {name: size for name, size in sizes.items() if name not in SAMPLES}
            write_text(f"{uri}/{COMPLETE}", msgspec.json.encode(left).decode())
            delete_files(f"{uri}/{name}" for name in present)
        path = uri.removeprefix(f"{warehouse.root}/")
        yield from (ForgottenFile(f"{path}/{n}", "sample rows", Treatment.DELETED) for n in present)


def _copies(warehouse: Warehouse) -> Iterator[str]:
    root = f"{warehouse.root}/{FOLDER}"
    for name in list_folder(root)[0]:
        yield from (f"{root}/{name}/{version}" for version in list_folder(f"{root}/{name}")[0])
