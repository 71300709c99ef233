"""A wallet in trainings and registered models: samples go, and what was learned is told."""

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
from scorestream.infra.storage.filesystem import (
    delete_files,
    entries,
    exists,
    read_text,
    write_text,
)
from scorestream.infra.storage.places import Place, Treatment, place_of
from scorestream.tabular.registry.artifact_places import ARTIFACTS
from scorestream.tabular.registry.artifacts import (
    ArtifactFolder,
    TrainingRun,
    list_folders,
    list_trainings,
)
from scorestream.tabular.registry.tracking import MODEL
from scorestream.wallets.maintenance.forget_files import Found
from scorestream.wallets.maintenance.forget_rows import OneWallet

# As a training notes where its rows came from, if it was a table that has versions.
_VERSION: Final = re.compile(r" version (\d+)$")
_SQL: Final = "sql"


@dataclass(frozen=True)
class Learned:
    """A training that had rows of the wallet.

    Attributes:
        certain: False where nobody can look any more at what it learned from.
    """

    training: TrainingRun
    certain: bool

    def __str__(self) -> str:
        """As it is told."""
        name = ", ".join(self.training.versions) or f"run {self.training.run_id}"
        has = "has learned" if self.certain else "may have learned"
        return f"{name} {has} from rows of it ({self.training.source})"


def learned_from(
    store: ModelStore, warehouse: Warehouse, holding: Mapping[str, frozenset[str]]
) -> list[Learned]:
    """The trainings that had, or may have had, rows of the wallet.

    Args:
        store: of the trainings.
        warehouse: of the tables.
        holding: names of the data files that hold its rows, by the name of their table.
    """
    with store.errors("trainings"):
        found = [(one, _had(one, warehouse, holding)) for one in list_trainings(store)]
    return [Learned(one, had) for one, had in found if had is not None]


def _had(
    training: TrainingRun, warehouse: Warehouse, holding: Mapping[str, frozenset[str]]
) -> bool | None:
    """True: it had rows of the wallet; False: it may have had; None: it had none."""
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
    store: ModelStore, what: OneWallet, learned: Sequence[Learned], dry_run: bool
) -> Iterator[Found]:
    """Find the files of trainings that hold the address, and treat each as its place says.

    Sample rows of models that have learned from the wallet go in any case: they may be its own.
    """
    suspected = {one.training.run_id for one in learned}
    with store.errors("files of trainings"):
        for training in list_trainings(store):
            for folder in list_folders(store, training):
                yield from _in_folder(folder, what, training.run_id in suspected, dry_run)


def _in_folder(
    folder: ArtifactFolder, what: OneWallet, suspected: bool, dry_run: bool
) -> Iterator[Found]:
    for path in list(folder.files()):
        place = _artifact(f"{folder.prefix}{path}")
        if place.treatment == Treatment.NOTHING:
            continue
        content = folder.read(path)
        sample = suspected and path.removeprefix(f"{MODEL}/") in SAMPLES
        if not (sample or what.search.is_in(content)):
            continue
        if not dry_run:
            _treat(folder, path, content, place, what)
        yield Found(f"{folder.uri}/{path}", place.content, place.treatment)


def _artifact(path: str) -> Place:
    try:
        return place_of(path, ARTIFACTS)
    except LookupError:
        return Place(path, "a file of a training that is none of ours", Treatment.TOLD)


def _treat(
    folder: ArtifactFolder, path: str, content: bytes, place: Place, what: OneWallet
) -> None:
    if place.treatment == Treatment.DELETED:
        folder.delete(path)
    elif place.treatment == Treatment.REDACTED:
        folder.write(path, what.search.without(content))


def forget_in_copies(warehouse: Warehouse, dry_run: bool) -> Iterator[Found]:
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
        yield from (Found(f"{path}/{n}", "sample rows", Treatment.DELETED) for n in present)


def _copies(warehouse: Warehouse) -> Iterator[str]:
    root = f"{warehouse.root}/{FOLDER}"
    for name in entries(root)[0]:
        yield from (f"{root}/{name}/{version}" for version in entries(f"{root}/{name}")[0])
