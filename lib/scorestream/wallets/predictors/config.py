"""The configured predictors: `conf/wallet_models.yaml`, or the setting `WALLET_MODELS`."""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Any, Final, Literal

from pydantic import StringConstraints, ValidationError
from pydantic import field_validator as checks

from scorestream.infra.config.frozen_model import FrozenModel
from scorestream.infra.config.settings import Settings
from scorestream.infra.config.yaml_files import format_problems, read_yaml
from scorestream.infra.errors import ConfigurationError

FILE: Final = "wallet_models.yaml"
SETTING: Final = "WALLET_MODELS"
# The value for no models; an empty setting counts as not set.
NO_MODELS: Final = "none"
_REFERENCE: Final = r"^[^@/\s,]+(@[\w.-]+|/[0-9]+)?$"


class WalletModel(FrozenModel):
    """A configured model.

    Attributes:
        model: NAME@ALIAS, NAME/VERSION, or NAME for its champion.
        on_missing: what a start does without a version that can be applied: `fail` ends with the
            reason, `skip` goes on without the model until there is one.
    """

    model: Annotated[str, StringConstraints(pattern=_REFERENCE)]
    on_missing: Literal["fail", "skip"] = "fail"

    @property
    def name(self) -> str:
        """The registered name, which is the model's name in results."""
        return re.split("[@/]", self.model)[0]


class _WalletModels(FrozenModel):
    models: tuple[WalletModel, ...] = ()

    @checks("models", mode="before")
    @classmethod
    def _expand_references(cls, models: Any) -> Any:
        """Expand a plain reference to a model with defaults."""
        if not isinstance(models, list | tuple):
            return models
        return tuple({"model": each} if isinstance(each, str) else each for each in models)

    @checks("models")
    @classmethod
    def _refuse_duplicates(cls, models: tuple[WalletModel, ...]) -> tuple[WalletModel, ...]:
        twice = [name for name, n in Counter(model.name for model in models).items() if n > 1]
        if twice:
            raise ValueError(f"{', '.join(twice)}: listed twice, results go by the name")
        return models


def load_wallet_models(settings: Settings) -> tuple[WalletModel, ...]:
    """Load the models of the setting, else those of the file; none if neither is there.

    Raises:
        ConfigurationError: the file cannot be read, a reference is malformed, or a model is listed
            twice.
    """
    path = settings.scorestream_conf / FILE
    source, content = str(path), {}
    if settings.wallet_models is not None:
        names = settings.wallet_models.split(",")
        listed = [name.strip() for name in names if name.strip()]
        source, content = SETTING, {"models": [] if listed == [NO_MODELS] else listed}
    elif path.exists():
        content = read_yaml(path)
    try:
        return _WalletModels.model_validate(content).models
    except ValidationError as error:
        raise ConfigurationError(f"{source}: {format_problems(error)}") from None
