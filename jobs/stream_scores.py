"""Score wallets from Kafka as they come: results to Delta tables and Kafka topics."""

from __future__ import annotations

import argparse
import sys

from scorestream.infra.cli.options import at_least
from scorestream.infra.cli.run import run_job
from scorestream.wallets.execution.configured_scoring import add_scoring_option
from scorestream.wallets.stream.job import ScoreStreamOptions, run_stream


def parse_arguments() -> ScoreStreamOptions:
    parser = argparse.ArgumentParser(prog="spark-submit.sh stream_scores", description=__doc__)
    parser.add_argument(
        "--available-now", action="store_true", help="end when what is there now is processed"
    )
    parser.add_argument(
        "--trigger", metavar="INTERVAL", help='time between batches (default: "500 milliseconds")'
    )
    parser.add_argument(
        "--starting-offsets",
        choices=("earliest", "latest"),
        default="earliest",
        help="where a new checkpoint over an empty warehouse starts (default: earliest)",
    )
    parser.add_argument("--checkpoint", metavar="DIR", help="default: below the warehouse")
    parser.add_argument("--max-offsets-per-trigger", type=at_least(1), metavar="N")
    parser.add_argument(
        "--reprocess",
        action="store_true",
        help="a new checkpoint starts anew, whatever the warehouse holds of the topic",
    )
    add_scoring_option(parser)
    return ScoreStreamOptions(**vars(parser.parse_args()))


if __name__ == "__main__":
    options = parse_arguments()
    sys.exit(run_job(lambda settings: run_stream(options, settings)))
