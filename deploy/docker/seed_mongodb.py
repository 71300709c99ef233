"""Fills the MongoDB collections of reference data from `conf/reference`, where they are empty."""

from __future__ import annotations

import sys

from pymongo import MongoClient

from scorestream.infra.cli.run import run_job
from scorestream.infra.config.settings import Settings
from scorestream.wallets.reference.reference_data import load_conf_reference


def seed(settings: Settings) -> None:
    """Insert the tokens and thresholds of `conf/`; a collection that holds anything is left as is.

    Raises:
        ReferenceDataInvalid: `conf/` is malformed.
    """
    if settings.mongodb_url is None:
        sys.exit("MONGODB_URL: is not set, so there is nothing to fill")
    reference = load_conf_reference(settings.scorestream_conf)
    with MongoClient[dict[str, object]](settings.mongodb_url.get_secret_value()) as client:
        database = client[settings.mongodb_database]
        for name, items in (
            (settings.mongodb_tokens_collection, reference.tokens),
            (settings.mongodb_thresholds_collection, reference.thresholds),
        ):
            if items and database[name].find_one() is None:
                database[name].insert_many([item.model_dump() for item in items])
            print(f"{name}: {database[name].count_documents({})} documents")


if __name__ == "__main__":
    sys.exit(run_job(seed))
