"""Scorings as `conf/scoring` describes them, and the option that names them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, ValidationError

from scorestream.infra.config.frozen_model import FrozenModel
from scorestream.infra.config.settings import load_settings
from scorestream.infra.config.yaml_files import format_problems, read_yaml
from scorestream.infra.errors import ConfigurationError
from scorestream.wallets.core.entries import DEXES_ENTRIES
from scorestream.wallets.core.scorer import Scorer
from scorestream.wallets.core.scoring import Scoring, Scorings, Weighted, entry_types_of
from scorestream.wallets.reference.reference_data import load_conf_reference
from scorestream.wallets.scorers.registry import SCORERS

DEFAULT_SCORING: Final = "dex-v1"
# The scorer of a file that does not say which, and is not called as one.
_DEFAULT_SCORER: Final = "dex-v1"


class CategoryWeight(FrozenModel):
    """What a scoring of several categories says of one: a scoring of it, and its weight."""

    scoring: str
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Categories(FrozenModel):
    """The content of the file of a scoring of several categories."""

    categories: Annotated[dict[str, CategoryWeight], Field(min_length=1)]


def add_scoring_option(parser: argparse.ArgumentParser) -> None:
    """Add `--scoring`, the names of one or several scorings."""
    parser.add_argument(
        "--scoring",
        dest="scorings",
        type=_names,
        default=(DEFAULT_SCORING,),
        metavar="NAME[,NAME]",
        help=f"what scores, conf/scoring/NAME.yaml; of several, models see the first "
        f"(default: {DEFAULT_SCORING})",
    )


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if len(set(names)) < len(names) or not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of different names")
    return names


def load_scoring(name: str = DEFAULT_SCORING, conf: Path | None = None) -> Scoring:
    """Load a scoring, with the stable coins of the same folder.

    Args:
        name: of the scoring.
        conf: the configuration folder; None: that of `SCORESTREAM_CONF`.

    Raises:
        ConfigurationError: a file is not there, or not as it must be.
    """
    folder = load_settings().scorestream_conf if conf is None else conf
    return build_scoring(folder, name, load_conf_reference(folder).stable_symbols)


def build_scorings(conf: Path, names: Sequence[str], stable_symbols: frozenset[str]) -> Scorings:
    """Build scorings; see :func:`build_scoring`."""
    return tuple(build_scoring(conf, name, stable_symbols) for name in names)


def build_scoring(conf: Path, name: str, stable_symbols: frozenset[str]) -> Scoring:
    """Build a scoring of `conf/scoring/NAME.yaml`.

    The file has either `categories`, each with a scoring of it and a weight, or the constants of
    one scorer, which `scorer` names; without, it is that of the same name, or `dex-v1`.

    Args:
        conf: the configuration folder.
        name: of the scoring, for instance ``dex-v1``.
        stable_symbols: symbols of stable coins, from the reference data.

    Raises:
        ConfigurationError: no such file or scorer, not YAML, or constants missing, unknown or out
            of range.
    """
    return _Folder(conf / "scoring", stable_symbols).scoring(name)


@dataclass(frozen=True)
class _Folder:
    """The files of scorings, and what scorers get beside the constants in them."""

    path: Path
    stable_symbols: frozenset[str]

    def scoring(self, name: str) -> Scoring:
        content = self._read(name)
        if "categories" not in content:
            return Scoring.of(name, self._scorer(name, content))
        try:
            given = _Categories.model_validate(content).categories
        except ValidationError as error:
            raise self._error(name, format_problems(error)) from None
        return Scoring(
            name, tuple(self._part(name, category, given[category]) for category in given)
        )

    def _part(self, name: str, category: str, given: CategoryWeight) -> Weighted:
        """A category's scorer, with the constants of its own file."""
        content = self._read(given.scoring)
        at = f"categories.{category}: {given.scoring}"
        if "categories" in content:
            raise self._error(name, f"{at} has several categories itself")
        scorer = self._scorer(given.scoring, content)
        if scorer.declaration.category != category:
            raise self._error(name, f"{at} scores {scorer.declaration.category}")
        return Weighted(scorer, given.weight)

    def _scorer(self, name: str, constants: Mapping[Any, Any]) -> Scorer:
        constants = dict(constants)
        scorer = constants.pop("scorer", name if name in SCORERS else _DEFAULT_SCORER)
        if not isinstance(scorer, str) or scorer not in SCORERS:
            known = ", ".join(sorted(SCORERS))
            raise self._error(name, f"scorer is {scorer!r}, must be one of {known}")
        for key in constants:
            if not isinstance(key, str) or key == "stable_symbols":
                raise self._error(name, f"{key}: is no constant of a scorer")
        try:
            return SCORERS[scorer].configure(name, constants, self.stable_symbols)
        except ValidationError as error:
            raise self._error(name, format_problems(error)) from None

    def _read(self, name: str) -> dict[Any, Any]:
        """What a scoring's file holds beside the name."""
        content: dict[Any, Any] = read_yaml(self._file(name))
        named = content.pop("name", None)
        if named != name:
            raise self._error(name, f"name is {named!r}, must be {name!r} as the file's")
        return content

    def _error(self, name: str, problem: str) -> ConfigurationError:
        return ConfigurationError(f"{self._file(name)}: {problem}")

    def _file(self, name: str) -> Path:
        return self.path / f"{name}.yaml"


def refuse_other_categories(scorings: Scorings, source: str) -> None:
    """Refuse scorings of what a source of transactions does not have.

    Raises:
        ConfigurationError: one scores another category than `dexes`.
    """
    others = [each.category for each in entry_types_of(scorings) if each != DEXES_ENTRIES]
    if others:
        raise ConfigurationError(
            f"{source}: the history is of dexes, and --scoring needs {', '.join(others)}, too: "
            "score whole messages"
        )
