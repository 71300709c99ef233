"""Kinds of files below the warehouse, and what `forget --wallet` does with each.

A new kind of file is declared here; a table says it itself (`wallets/schema/tables.py`).
"""

from __future__ import annotations

from typing import Final

from scorestream.infra.storage.file_kinds import FileKind, Treatment

# The first that fits counts.
FILE_KINDS: Final = (
    FileKind(
        "_checkpoints/backfill_scores/*.wallets/*.parquet",
        "sorted rows of a backfill that was cut off",
        Treatment.ROWS,
        ".json",
    ),
    FileKind(
        "_checkpoints/wallet_examples/*.wallets/*",
        "sorted rows of a `wallet_examples` that was cut off",
        Treatment.DELETED,
        ".wallets",
    ),
    FileKind("_checkpoints/leases/*", "who holds which lease", Treatment.NOTHING),
    FileKind("_checkpoints/*", "plans, offsets and locks", Treatment.REPORTED),
    FileKind("_progress/*", "heartbeats of long tasks", Treatment.NOTHING),
    FileKind(
        "_reference/*", "copies of reference data, with addresses of tokens", Treatment.REPORTED
    ),
    FileKind("_models/*", "copies of registered models", Treatment.REPORTED),
    FileKind("_mlflow/*", "the store of trainings and models", Treatment.REPORTED),
    FileKind("_demo/*", "generated wallets of the demo", Treatment.DELETED),
    FileKind("*comparison.md", "a report of `compare_scores`", Treatment.DELETED),
    FileKind("*comparison.svg", "a picture of `compare_scores`", Treatment.DELETED),
    FileKind("*drift.html", "a report of `check_drift`", Treatment.DELETED),
    FileKind("*drift.json", "a report of `check_drift`", Treatment.DELETED),
    FileKind("*", "a file that is none of ours, or an --output", Treatment.REPORTED),
)
