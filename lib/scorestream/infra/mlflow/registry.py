"""The model registry: versions and aliases of models, the champion and the one before it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mlflow.entities.model_registry import ModelVersion

from scorestream.infra.errors import ModelError
from scorestream.infra.mlflow.store import ModelStore

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
# Versions that served, the present one last: what a rollback goes back to.
_SERVED: Final = "scorestream.served"
_REFERENCE: Final = re.compile(r"(?P<name>[^@/\s]+)(?:@(?P<alias>[\w.-]+)|/(?P<version>[0-9]+))?")
_MAX_SERVED: Final = 100


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of a registered model.

    Attributes:
        source: URI of the model, as `loading` takes it.
        aliases: for instance `champion`.
    """

    name: str
    version: int
    run_id: str
    source: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]

    def __str__(self) -> str:
        """As a reference."""
        return f"{self.name}/{self.version}"


class Registry:
    """The registered models of a store."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store
        self._client = store.client

    def resolve(self, reference: str) -> RegisteredVersion:
        """Resolve NAME@ALIAS, NAME/VERSION, or NAME (its champion) to a version.

        Raises:
            ModelError: not such a reference, or there is no such model.
        """
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            raise ModelError(f"model {reference!r}: write NAME@ALIAS, NAME/VERSION or NAME")
        name, version = match["name"], match["version"]
        with self._store.errors(f"model {reference}"):
            if version is not None:
                return self._build(self._client.get_model_version(name, version))
            alias = match["alias"] or CHAMPION
            return self._build(self._client.get_model_version_by_alias(name, alias))

    def champion(self, name: str) -> RegisteredVersion | None:
        """The champion of a model; None if there is none."""
        versions = self.versions(name)
        return next((v for v in versions if CHAMPION in v.aliases), None)

    def versions(self, name: str) -> list[RegisteredVersion]:
        """All versions of a model, the newest first; none if it is not registered."""
        with self._store.errors(f"model {name}"):
            if not self._client.search_registered_models(f"name = '{name}'"):
                return []
            aliases = self._client.get_registered_model(name).aliases
            found = [self._build(v, aliases) for v in self._list_pages(name)]
        return sorted(found, key=lambda v: -v.version)

    def register(
        self, name: str, source: str, run_id: str, description: str, *, tags: Mapping[str, str]
    ) -> RegisteredVersion:
        """Register a model that a run has logged."""
        with self._store.errors(f"model {name}"):
            if not self._client.search_registered_models(f"name = '{name}'"):
                self._client.create_registered_model(name, description=description)
            created = self._client.create_model_version(
                name, source, run_id, tags=dict(tags), description=description
            )
            return self._build(created)

    def challenge(self, model: RegisteredVersion) -> None:
        """Make a version the challenger."""
        with self._store.errors(f"model {model}"):
            self._client.set_registered_model_alias(model.name, CHALLENGER, str(model.version))

    def promote(self, model: RegisteredVersion) -> None:
        """Make a version the champion."""
        champions = self._read_previous(model.name)
        if not champions or champions[-1] != model.version:
            champions = [*champions, model.version][-_MAX_SERVED:]
        self._set_champion(model.name, champions)

    def rollback(self, name: str) -> tuple[RegisteredVersion, RegisteredVersion]:
        """Make the previous champion the champion again; returns the old and the new one.

        Raises:
            ModelError: there is none.
        """
        champions = self._read_previous(name)
        if len(champions) < 2:
            raise ModelError(
                f"model {name}: no version served before the present one: promote another with "
                "--version"
            )
        before = self.resolve(f"{name}/{champions[-1]}")
        self._set_champion(name, champions[:-1])
        return before, self.resolve(f"{name}@{CHAMPION}")

    def _set_champion(self, name: str, champions: Sequence[int]) -> None:
        """Record the old champion, then switch: a switch that failed can be repeated."""
        version = str(champions[-1])
        with self._store.errors(f"model {name}/{version}"):
            self._client.get_model_version(name, version)
            self._client.set_registered_model_tag(name, _SERVED, ",".join(map(str, champions)))
            self._client.set_registered_model_alias(name, CHAMPION, version)
            challenger = self._client.get_registered_model(name).aliases.get(CHALLENGER)
            if str(challenger) == version:
                self._client.delete_registered_model_alias(name, CHALLENGER)

    def _read_previous(self, name: str) -> list[int]:
        with self._store.errors(f"model {name}"):
            text = self._client.get_registered_model(name).tags.get(_SERVED, "")
        return [int(version) for version in text.split(",") if version]

    def _list_pages(self, name: str) -> list[ModelVersion]:
        all_versions: list[ModelVersion] = []
        token: str | None = None
        while True:
            page = self._client.search_model_versions(f"name = '{name}'", page_token=token)
            all_versions += page
            token = page.token
            if not token:
                return all_versions

    def _build(
        self, found: ModelVersion, aliases: Mapping[str, str] | None = None
    ) -> RegisteredVersion:
        named = found.aliases
        if aliases is not None:
            named = [alias for alias, v in aliases.items() if str(v) == str(found.version)]
        return RegisteredVersion(
            found.name,
            int(found.version),
            found.run_id or "",
            found.source or "",
            dict(found.tags),
            tuple(sorted(named)),
        )
