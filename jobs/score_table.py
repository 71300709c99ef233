"""Score the rows of any table by a registered model, in batch."""

from __future__ import annotations

import argparse
import sys

from scorestream.infra.cli.options import add_model_and_tables
from scorestream.infra.cli.run import run_job
from scorestream.tabular.inference.job import ApplyOptions, score_table


def parse_arguments() -> ApplyOptions:
    parser = argparse.ArgumentParser(prog="spark-submit.sh score_table", description=__doc__)
    add_model_and_tables(
        parser,
        "the same rows in the same order, with prediction, probability (of classifiers) and error",
    )
    given = parser.parse_args()
    return ApplyOptions(given.model, given.input, given.output)


if __name__ == "__main__":
    options = parse_arguments()
    sys.exit(run_job(lambda settings: score_table(options, settings)))
