"""Send rejects back to the input topic after their cause was mended, once each."""

from __future__ import annotations

import argparse
import sys

from scorestream.infra.cli.run import run_job
from scorestream.wallets.maintenance.replay_rejects import replay_rejects

parser = argparse.ArgumentParser(prog="spark-submit.sh replay_rejects", description=__doc__)
parser.add_argument(
    "--where", metavar="SQL", help="condition over `rejects`, for instance \"error_code = 'x'\""
)
parser.add_argument("--dry-run", action="store_true", help="only count what would be sent")

if __name__ == "__main__":
    arguments = parser.parse_args()
    where, dry_run = arguments.where, arguments.dry_run
    sys.exit(run_job(lambda settings: replay_rejects(where, settings, dry_run=dry_run)))
