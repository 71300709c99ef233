"""Reference data: tokens with their stable symbols, and thresholds of the population.

They come from ``conf/reference/`` or from MongoDB, and become typed and frozen here, once. Whatever
the source, it is all of the data or an error that names every problem: half a list of stable
symbols would change scores silently.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, Protocol, Self, TypeVar

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from scorestream.infra.config.frozen_model import FrozenModel
from scorestream.infra.errors import ReferenceDataInvalid
from scorestream.infra.times import MAX_SECONDS
from scorestream.wallets.schema.columns import PERCENTILES

ALL_PROTOCOLS: Final = "*"

#: Where an item stands, as errors name it, and what stands there.
Items = Iterable[tuple[str, object]]


def _whole(value: object) -> object:
    """A whole float as an int: some MongoDB clients store every number as a double."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Text = Annotated[str, Field(strict=True, min_length=1)]
Address = Annotated[
    str, Field(strict=True, pattern="^0[xX][0-9a-fA-F]{40}$"), AfterValidator(str.lower)
]
Decimals = Annotated[int, BeforeValidator(_whole), Field(strict=True, ge=0, le=255)]
Count = Annotated[int, BeforeValidator(_whole), Field(strict=True, ge=1, lt=2**63)]
Seconds = Annotated[int, BeforeValidator(_whole), Field(strict=True, ge=0, le=MAX_SECONDS)]
Amount = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]


class Token(FrozenModel):
    """A token: its contract's address (lower-case), and 10^decimals raw units make one token."""

    address: Address
    symbol: Text
    decimals: Decimals
    stable: Annotated[bool, Field(strict=True)]

    @property
    def key(self) -> tuple[str, ...]:
        """What no two tokens share."""
        return (self.address,)


class Threshold(FrozenModel):
    """Percentiles of a feature over the wallets of a protocol.

    Attributes:
        protocol: as transactions name it, or `*` for all protocols.
        n: number of wallets the percentiles are taken over.
        as_of: unix seconds of the moment they speak of.
    """

    protocol: Text
    feature: Text
    p1: Amount
    p5: Amount
    p10: Amount
    p25: Amount
    p50: Amount
    p75: Amount
    p90: Amount
    p95: Amount
    p99: Amount
    n: Count
    as_of: Seconds

    @property
    def key(self) -> tuple[str, ...]:
        """What no two thresholds share."""
        return (self.protocol, self.feature)

    @property
    def values(self) -> tuple[float, ...]:
        """The feature's values at `PERCENTILES`, non-decreasing."""
        return tuple(getattr(self, f"p{percentile}") for percentile in PERCENTILES)

    @model_validator(mode="after")
    def _non_decreasing(self) -> Self:
        for (low, below), (high, above) in pairwise(zip(PERCENTILES, self.values, strict=True)):
            if above < below:
                raise ValueError(f"p{high} ({above:g}) is less than p{low} ({below:g})")
        return self


class _Keyed(Protocol):
    @property
    def key(self) -> tuple[str, ...]: ...


_Item = TypeVar("_Item", bound=_Keyed)
_Model = TypeVar("_Model", Token, Threshold)


def _ordered(items: tuple[_Item, ...]) -> tuple[_Item, ...]:
    """Items by their keys, so that equal data compare equal whatever order they came in."""
    ordered = tuple(sorted(items, key=lambda item: item.key))
    twice = [" ".join(a.key) for a, b in pairwise(ordered) if a.key == b.key]
    if twice:
        raise ValueError(f"given more than once: {', '.join(dict.fromkeys(twice))}")
    return ordered


def _some_stable(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    if not any(token.stable for token in tokens):
        raise ValueError("no token is stable, which would change every score")
    return tokens


class ReferenceData(FrozenModel):
    """Everything scores refer to beside transactions; no key twice, in the order of keys."""

    tokens: Annotated[tuple[Token, ...], AfterValidator(_ordered), AfterValidator(_some_stable)]
    thresholds: Annotated[tuple[Threshold, ...], AfterValidator(_ordered)]

    @property
    def stable_symbols(self) -> frozenset[str]:
        """Symbols of the stable tokens, also where an unstable token has the same symbol."""
        return frozenset(token.symbol for token in self.tokens if token.stable)


def newest_versions(versions: Iterable[Threshold]) -> tuple[Threshold, ...]:
    """Of each protocol and feature the threshold of the newest `as_of`; of equal ones the last."""
    newest: dict[tuple[str, ...], Threshold] = {}
    for version in versions:
        if version.as_of >= newest.get(version.key, version).as_of:
            newest[version.key] = version
    return tuple(newest.values())


def load_conf_reference(conf_dir: Path) -> ReferenceData:
    """Reference data of the configuration folder.

    Args:
        conf_dir: has `reference/tokens.yaml` and `reference/protocol_thresholds.yaml`.

    Raises:
        ReferenceDataInvalid: with every problem of both files.
    """
    problems: list[str] = []
    tokens = _conf_items(conf_dir / "reference" / "tokens.yaml", problems)
    thresholds = _conf_items(conf_dir / "reference" / "protocol_thresholds.yaml", problems)
    return parse_reference(tokens, thresholds, problems)


def parse_reference(
    tokens: Items,
    thresholds: Items,
    problems: Sequence[str] = (),
    shown: int | None = None,
) -> ReferenceData:
    """Reference data from plain mappings, from whatever source.

    Args:
        tokens: where each token stands, and its fields.
        thresholds: where each threshold stands, and its fields.
        problems: found already while reading; they come first in the error.
        shown: how many problems the error lists at most; None: all.

    Raises:
        ReferenceDataInvalid: with each malformed or repeated item: where, field, what is wrong.
    """
    found = list(problems)
    parsed_tokens = tuple(_parse(Token, tokens, found))
    parsed_thresholds = tuple(_parse(Threshold, thresholds, found))
    if not found:
        try:
            return ReferenceData(tokens=parsed_tokens, thresholds=parsed_thresholds)
        except ValidationError as error:
            found.append(_described(error))
    raise ReferenceDataInvalid(_listed(found, shown))


def _conf_items(path: Path, problems: list[str]) -> list[tuple[str, object]]:
    try:
        content = yaml.safe_load(path.read_bytes())
    except OSError as error:
        problems.append(f"{path}: cannot be read: {error.strerror}")
    # PyYAML raises ValueError for an impossible date, which its own errors do not cover.
    except (yaml.YAMLError, ValueError) as error:
        problems.append(f"{path}: is not YAML: {' '.join(str(error).split())}")
    else:
        if isinstance(content, list):
            return [(f"{path}: item {i}", item) for i, item in enumerate(content, start=1)]
        problems.append(f"{path}: must be a list of items, is {reprlib.repr(content)}")
    return []


def _parse(model: type[_Model], items: Items, problems: list[str]) -> list[_Model]:
    """The well-formed items; what is wrong with the others, or repeated, goes to `problems`."""
    parsed: list[_Model] = []
    places: dict[tuple[str, ...], str] = {}
    for where, content in items:
        try:
            item = model.model_validate(content)
        except ValidationError as error:
            problems.append(f"{where}: {_described(error)}")
            continue
        if item.key in places:
            first = places[item.key]
            problems.append(f"{where}: {' '.join(item.key)} is given already by {first}")
        places.setdefault(item.key, where)
        parsed.append(item)
    return parsed


def _described(error: ValidationError) -> str:
    """What is wrong with an item: its fields by reason."""
    fields: dict[str, list[str]] = {}
    for problem in error.errors(include_url=False):
        fields.setdefault(_reason(dict(problem)), []).extend(map(str, problem["loc"][:1]))
    return "; ".join(
        f"{', '.join(names)}: {reason}" if names else reason for reason, names in fields.items()
    )


def _reason(problem: dict[str, Any]) -> str:
    """What is wrong with a field, with its value, bounded."""
    match problem["type"]:
        case "value_error":
            return str(problem["ctx"]["error"])
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "is not a known field"
    expected = str(problem["msg"]).replace("Input should", "must").replace("String should", "must")
    return f"{expected}, is {reprlib.repr(problem['input'])}"


def _listed(problems: Sequence[str], shown: int | None) -> str:
    lines = [*problems[:shown]]
    if len(lines) < len(problems):
        lines.append(f"and {len(problems) - len(lines)} more")
    return "\n".join(["Reference data cannot be used:", *lines])
