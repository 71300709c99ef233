"""Train the models of a use case, register the best one, and promote it if it deserves that."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scorestream.infra.cli.run import run_job
from scorestream.tabular.training.job import TrainOptions, train_model
from scorestream.wallets.schema.views import CATALOG


def parse_arguments() -> TrainOptions:
    parser = argparse.ArgumentParser(prog="spark-submit.sh train_model", description=__doc__)
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="conf/models/NAME.yaml"
    )
    rows = parser.add_mutually_exclusive_group()
    rows.add_argument(
        "--data",
        metavar="PATH",
        help="train on this table: .csv, .csv.gz, .parquet or Delta (default: the rows that are "
        "kept, or else those of the configuration)",
    )
    rows.add_argument(
        "--append",
        metavar="PATH",
        help="add the rows of this table to those that are kept, and train on all of them",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change the configuration, for instance search.trials=5; may be repeated",
    )
    given = parser.parse_args()
    return TrainOptions(given.config, given.data, given.append, tuple(given.set))


if __name__ == "__main__":
    options = parse_arguments()
    sys.exit(run_job(lambda settings: train_model(options, settings, CATALOG)))
