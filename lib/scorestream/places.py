"""Files that the product writes beside its tables: what `forget --wallet` does with each kind.

A new kind of file below the warehouse, or of a training, is declared here; a table says it itself
(`tables.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Final


class Treatment(Enum):
    """What becomes of a file that holds the wallet's address."""

    ROWS = "rows taken out"
    DELETED = "deleted"
    REDACTED = "address taken out"
    # Nobody but the user can say what it is worth, or it is what a model has learned.
    TOLD = "stays: yours to delete"
    # It holds numbers, hashes or pictures: not looked at.
    NOTHING = "cannot hold it"


@dataclass(frozen=True)
class Place:
    """Files of one kind.

    Attributes:
        pattern: of their paths; ``*`` is any letters, `/` among them.
        content: what they are.
        treatment: of those that hold the address.
        running: what stands for `.wallets/…` in the name of the lock of whoever uses it.
    """

    pattern: str
    content: str
    treatment: Treatment
    running: str | None = None


# Below the warehouse, and beside its Delta tables; the first that fits counts.
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
# Sample rows in the folder of a model: nobody applies them.
SAMPLES: Final = ("input_example.json", "serving_input_example.json")
# Files of a training's run, below its folder; those of its model are below `model/`.
ARTIFACTS: Final = (
    Place("use_case.json", "the configuration", Treatment.REDACTED),
    Place("profile.json", "distributions, with the values of categories", Treatment.REDACTED),
    Place("bad_rows.csv", "rows that could not be learned from", Treatment.DELETED),
    Place("environment.txt", "packages", Treatment.NOTHING),
    Place("training_rows.bin", "hashes of rows, without their ids", Treatment.NOTHING),
    Place("trials.csv", "hyperparameters", Treatment.NOTHING),
    Place("plots/*", "pictures", Treatment.NOTHING),
    *(Place(f"model/{name}", "sample rows of a model", Treatment.DELETED) for name in SAMPLES),
    Place("judged/*", "what a model has learned", Treatment.TOLD),
    Place("model/*", "what a model has learned", Treatment.TOLD),
)


def place_of(path: str, places: Sequence[Place] = PLACES) -> Place:
    """Which of the places a file belongs to.

    Raises:
        LookupError: to none: it has to be declared, with what `forget` does there.
    """
    for place in places:
        if fnmatchcase(path, place.pattern):
            return place
    raise LookupError(f"{path}: declare it in places.py, and what `forget` does there")
