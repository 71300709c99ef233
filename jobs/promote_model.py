"""Let a version of a model serve, or the one that served before."""

from __future__ import annotations

import argparse
import sys

from scorestream.infra.cli.options import at_least
from scorestream.infra.cli.run import run_job
from scorestream.tabular.training.runs.promotion import promote_model, rollback_model

parser = argparse.ArgumentParser(prog="spark-submit.sh promote_model", description=__doc__)
parser.add_argument("--name", required=True, help="for instance loan-approval")
what = parser.add_mutually_exclusive_group(required=True)
what.add_argument("--version", type=at_least(1), metavar="N", help="this version serves")
what.add_argument("--rollback", action="store_true", help="the version before serves again")

if __name__ == "__main__":
    given = parser.parse_args()
    sys.exit(
        run_job(
            lambda settings: (
                rollback_model(given.name, settings)
                if given.rollback
                else promote_model(given.name, given.version, settings)
            )
        )
    )
