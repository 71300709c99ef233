"""Print the trainings of a model: metrics, data versions, and which version serves."""

from __future__ import annotations

import argparse
import sys

from scorestream.infra.cli.run import run_job
from scorestream.tabular.training.runs.history import model_history

parser = argparse.ArgumentParser(prog="spark-submit.sh model_history", description=__doc__)
parser.add_argument("--name", required=True, help="for instance loan-approval")
parser.add_argument(
    "--format",
    choices=("table", "json"),
    default="table",
    help="json: one object a training (default: table)",
)

if __name__ == "__main__":
    given = parser.parse_args()
    sys.exit(run_job(lambda settings: model_history(given.name, given.format, settings)))
