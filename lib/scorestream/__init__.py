"""Batch and streaming scoring of DeFi wallets on Spark, around one pure columnar core."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from scorestream.udf import message_scorer, score_messages, score_transactions
    from scorestream.wallets.execution.configured_scoring import load_scoring

__version__ = "0.1.0"
__all__ = ["load_scoring", "message_scorer", "score_messages", "score_transactions"]

_UDF: Final = "scorestream.udf"
_MODULES: Final = {
    "load_scoring": "scorestream.wallets.execution.configured_scoring",
    "message_scorer": _UDF,
    "score_messages": _UDF,
    "score_transactions": _UDF,
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: a process that only scores files needs no Spark."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
