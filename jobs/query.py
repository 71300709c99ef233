"""Run one read-only SQL statement over all tables and views."""

from __future__ import annotations

import argparse
import sys

from scorestream.infra.cli.run import run_job
from scorestream.sql.query import run_query

parser = argparse.ArgumentParser(prog="spark-submit.sh query", description=__doc__)
parser.add_argument("sql", help='for instance "SELECT * FROM leaderboard LIMIT 10"')
parser.add_argument(
    "--format",
    choices=("table", "json", "csv", "sheet"),
    default="table",
    help="json: one object a line, nulls kept; csv; sheet: CSV without formulas (default: table)",
)

if __name__ == "__main__":
    arguments = parser.parse_args()
    sys.exit(run_job(lambda settings: run_query(arguments.sql, arguments.format, settings)))
