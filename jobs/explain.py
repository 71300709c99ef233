"""Explain the predictions of a registered model for the rows of any table, in batch."""

from __future__ import annotations

import argparse
import sys

from scorestream.infra.cli.options import add_model_and_tables, at_least
from scorestream.infra.cli.run import run_job
from scorestream.tabular.inference.job import ApplyOptions, explain_table


def parse_arguments() -> ApplyOptions:
    parser = argparse.ArgumentParser(prog="spark-submit.sh explain", description=__doc__)
    add_model_and_tables(
        parser,
        "the same rows with prediction, start, a term_ column a feature, reasons and error",
    )
    parser.add_argument(
        "--top", type=at_least(1), default=3, metavar="N", help="reasons told a row (default: 3)"
    )
    given = parser.parse_args()
    return ApplyOptions(given.model, given.input, given.output, given.top)


if __name__ == "__main__":
    options = parse_arguments()
    sys.exit(run_job(lambda settings: explain_table(options, settings)))
