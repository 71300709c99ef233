"""Which registered models are applied to wallets, as `conf/wallet_models.yaml` lists them."""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Any, Final, Literal

from pydantic import StringConstraints, ValidationError
from pydantic import field_validator as checks

from scorestream.infra.config.frozen import Frozen
from scorestream.infra.config.settings import Settings
from scorestream.infra.config.yaml_files import problems_of, read_yaml
from scorestream.infra.errors import ConfigurationError

FILE: Final = "wallet_models.yaml"
SETTING: Final = "WALLET_MODELS"
# The setting without any model; empty, it counts as not set.
NO_MODELS: Final = "none"
_REFERENCE: Final = r"^[^@/\s,]+(@[\w.-]+|/[0-9]+)?$"


class WalletModel(Frozen):
    """A model that is applied.

    Attributes:
        model: NAME@ALIAS, NAME/VERSION, or NAME: its champion.
        on_missing: what a start does that finds no version that can be applied: end with the
            reason, or go on without until there is one.
    """

    model: Annotated[str, StringConstraints(pattern=_REFERENCE)]
    on_missing: Literal["fail", "skip"] = "fail"

    @property
    def name(self) -> str:
        """The registered name, by which results name the model."""
        return re.split("[@/]", self.model)[0]


class _Listed(Frozen):
    models: tuple[WalletModel, ...] = ()

    @checks("models", mode="before")
    @classmethod
    def _short(cls, models: Any) -> Any:
        """A reference alone stands for a model with defaults."""
        if not isinstance(models, list | tuple):
            return models
        return tuple({"model": each} if isinstance(each, str) else each for each in models)

    @checks("models")
    @classmethod
    def _once_each(cls, models: tuple[WalletModel, ...]) -> tuple[WalletModel, ...]:
        twice = [name for name, n in Counter(model.name for model in models).items() if n > 1]
        if twice:
            raise ValueError(f"{', '.join(twice)}: listed twice, results go by the name")
        return models


def load_wallet_models(settings: Settings) -> tuple[WalletModel, ...]:
    """The models that are applied: those of the setting, else those of the file; none without it.

    Raises:
        ConfigurationError: the file cannot be read; no such references, or a model twice.
    """
    path = settings.scorestream_conf / FILE
    where, given = str(path), {}
    if settings.wallet_models is not None:
        names = settings.wallet_models.split(",")
        listed = [name.strip() for name in names if name.strip()]
        where, given = SETTING, {"models": [] if listed == [NO_MODELS] else listed}
    elif path.exists():
        given = read_yaml(path)
    try:
        return _Listed.model_validate(given).models
    except ValidationError as error:
        raise ConfigurationError(f"{where}: {problems_of(error)}") from None
