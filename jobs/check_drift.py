"""Check whether data are still like those that a model was trained on; exit code 4 if not."""

from __future__ import annotations

import argparse
import sys

from scorestream.infra.cli.run import run_job
from scorestream.tabular.drift.job import DriftOptions, check_drift


def parse_arguments() -> DriftOptions:
    parser = argparse.ArgumentParser(prog="spark-submit.sh check_drift", description=__doc__)
    parser.add_argument(
        "--model", required=True, metavar="NAME@ALIAS", help="NAME@champion, NAME/3, or NAME"
    )
    parser.add_argument(
        "--data", required=True, metavar="PATH", help=".csv, .csv.gz, .parquet, or a Delta table"
    )
    parser.add_argument("--out", metavar="DIR", help="write drift.html and drift.json there")
    parser.add_argument(
        "--psi",
        type=_positive,
        metavar="X",
        help="largest population stability index (default: the use case's)",
    )
    parser.add_argument(
        "--missing",
        type=_positive,
        metavar="X",
        help="how much the share of missing values may grow (default: the use case's)",
    )
    return DriftOptions(**vars(parser.parse_args()))


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be above 0")
    return value


if __name__ == "__main__":
    options = parse_arguments()
    sys.exit(run_job(lambda settings: check_drift(options, settings)))
