"""What runs on a developer's machine only: the local broker, the demo."""

from __future__ import annotations

from pathlib import Path

from scorestream.errors import ConfigurationError

_LOCK = "conf/ivy.xml"


def project_root() -> Path:
    """The checkout: where the package lies, else (not installed editable) the working folder.

    Raises:
        ConfigurationError: neither of them is a checkout.
    """
    candidates = (Path(__file__).resolve().parents[3], Path.cwd())
    for folder in candidates:
        if (folder / _LOCK).is_file():
            return folder
    raise ConfigurationError(f"{candidates[-1]} is not a Scorestream checkout (it has no {_LOCK})")
