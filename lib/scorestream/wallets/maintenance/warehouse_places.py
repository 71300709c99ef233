"""Files below the warehouse, beside its tables: what `forget --wallet` does with each kind.

A new kind of file is declared here; a table says it itself (`wallets/schema/tables.py`).
"""

from __future__ import annotations

from typing import Final

from scorestream.infra.storage.places import Place, Treatment

# The first that fits counts.
PLACES: Final = (
    Place(
        "_checkpoints/backfill_scores/*.wallets/*.parquet",
        "sorted rows of a backfill that was cut off",
        Treatment.ROWS,
        ".json",
    ),
    Place(
        "_checkpoints/wallet_examples/*.wallets/*",
        "sorted rows of a `wallet_examples` that was cut off",
        Treatment.DELETED,
        ".wallets",
    ),
    Place("_checkpoints/leases/*", "who holds which lease", Treatment.NOTHING),
    Place("_checkpoints/*", "plans, offsets and locks", Treatment.TOLD),
    Place("_progress/*", "signs of life of long tasks", Treatment.NOTHING),
    Place("_reference/*", "copies of reference data, with addresses of tokens", Treatment.TOLD),
    Place("_models/*", "copies of registered models", Treatment.TOLD),
    Place("_mlflow/*", "the store of trainings and models", Treatment.TOLD),
    Place("_demo/*", "generated wallets of the demo", Treatment.DELETED),
    Place("*comparison.md", "a report of `compare_scores`", Treatment.DELETED),
    Place("*comparison.svg", "a picture of `compare_scores`", Treatment.DELETED),
    Place("*drift.html", "a report of `check_drift`", Treatment.DELETED),
    Place("*drift.json", "a report of `check_drift`", Treatment.DELETED),
    Place("*", "a file that is none of ours, or an --output", Treatment.TOLD),
)
