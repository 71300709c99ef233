"""Score the rows of any table by a registered model, in batch."""

from __future__ import annotations

import argparse
import sys

from scorestream.cli import run_job
from scorestream.training.apply.tables import ApplyOptions, score_table


def parse_arguments() -> ApplyOptions:
    parser = argparse.ArgumentParser(prog="spark-submit.sh score_table", description=__doc__)
    parser.add_argument(
        "--model", required=True, metavar="NAME@ALIAS", help="NAME@champion, NAME/3, or NAME"
    )
    parser.add_argument(
        "--input", required=True, metavar="PATH", help=".csv, .csv.gz, .parquet, or a Delta table"
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="PATH",
        help=".csv, .csv.gz, .parquet, or else a Delta table: the same rows in the same order, "
        "with prediction, probability (of classifiers) and error; what is there is replaced",
    )
    given = parser.parse_args()
    return ApplyOptions(given.model, given.input, given.output)


if __name__ == "__main__":
    options = parse_arguments()
    sys.exit(run_job(lambda settings: score_table(options, settings)))
