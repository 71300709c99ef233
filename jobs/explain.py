"""Explain the predictions of a registered model for the rows of any table, in batch."""

from __future__ import annotations

import argparse
import sys

from scorestream.cli import run_job
from scorestream.options import at_least
from scorestream.training.apply.tables import ApplyOptions, explain_table


def parse_arguments() -> ApplyOptions:
    parser = argparse.ArgumentParser(prog="spark-submit.sh explain", description=__doc__)
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
        help=".csv, .csv.gz, .parquet, or else a Delta table: the same rows with prediction, "
        "start, a term_ column a feature, reasons and error; what is there is replaced",
    )
    parser.add_argument(
        "--top", type=at_least(1), default=3, metavar="N", help="reasons told a row (default: 3)"
    )
    given = parser.parse_args()
    return ApplyOptions(given.model, given.input, given.output, given.top)


if __name__ == "__main__":
    options = parse_arguments()
    sys.exit(run_job(lambda settings: explain_table(options, settings)))
