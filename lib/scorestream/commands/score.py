"""Score the wallets of files of messages: by the same core as the stream, without Java or Kafka."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final, get_args

import numpy as np
import pyarrow as pa

from scorestream.commands.message_files import Lines, read_lines
from scorestream.commands.score_output import Format, print_scores
from scorestream.infra.cli.options import parse_time
from scorestream.infra.config.settings import Settings
from scorestream.infra.display import visible
from scorestream.wallets.core.dated_lines import parse_dated_line, undated_reject
from scorestream.wallets.core.pipeline import Scored, score_messages
from scorestream.wallets.core.score_columns import scored_schema
from scorestream.wallets.core.scoring import Scorings, declarations_of
from scorestream.wallets.execution.configured_scoring import add_scoring_option, build_scorings
from scorestream.wallets.reference.reference_data import load_conf_reference

HELP: Final = "scores of the wallets in files of messages, with their parts"
# A score as the tables hold it, without what only they need.
_NOT_SHOWN: Final = ("position", "wallet_key")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="messages as JSON lines, plain or .gz .zst .bz2 .lz4; `-`: those of stdin",
    )
    parser.add_argument(
        "--as-of",
        type=_moment,
        metavar="TIME",
        help="ISO 8601 or unix seconds: the moment every wallet is judged at; `record`: each "
        "message's own, from lines {as_of, message} (default: record)",
    )
    add_scoring_option(parser)
    parser.add_argument(
        "--format",
        choices=get_args(Format),
        default="table",
        help="json: one object a line; json and csv hold every digit (default: table)",
    )


def run(given: argparse.Namespace, settings: Settings) -> None:
    """Print the scores on stdout; rejects, and how many there are of both, on stderr.

    Raises:
        ScorestreamError: a file cannot be read, or the configuration is wrong.
    """
    stable_symbols = load_conf_reference(settings.scorestream_conf).stable_symbols
    scorings = build_scorings(settings.scorestream_conf, given.scorings, stable_symbols)
    counts = _Counts()
    batches = (batch for name in given.files for batch in read_lines(name))
    print_scores(_scores(batches, given.as_of, scorings, counts), given.format, sys.stdout)
    print(f"{counts.scores:,} scores, {counts.rejects:,} rejects", file=sys.stderr)


def score_lines(lines: Sequence[bytes], as_of: int | None, scorings: Scorings) -> Scored:
    """Score messages, a line each.

    Args:
        lines: of JSON.
        as_of: unix seconds at which all are scored; None where each line has its own.
        scorings: what scores them.
    """
    score = partial(score_messages, scorings=scorings, include_transactions=False)
    if as_of is not None:
        return score(lines, np.full(len(lines), as_of))
    dated = [parse_dated_line(line) for line in lines]
    moments = [0 if line is None else line.as_of for line in dated]
    return score(
        [None if line is None else bytes(line.message) for line in dated],
        np.array(moments, dtype=np.int64),
        refused=[undated_reject(at) for at, line in enumerate(dated) if line is None],
    )


class _Counts:
    def __init__(self) -> None:
        self.scores = self.rejects = 0


def _scores(
    batches: Iterator[Lines], as_of: int | None, scorings: Scorings, counts: _Counts
) -> Iterator[pa.Table]:
    """Scores of batches as they are shown, first none; rejects are told on the way."""
    yield _shown(scored_schema(declarations_of(scorings)).empty_table())
    for batch in batches:
        scored = score_lines(batch.lines, as_of, scorings)
        counts.scores += len(scored.scores)
        counts.rejects += len(scored.rejects)
        _tell_rejects(batch, scored.rejects)
        yield _shown(scored.scores)


def _shown(scores: pa.Table) -> pa.Table:
    """Scores in the order of their messages, without what only tables need."""
    ordered = scores.sort_by([("position", "ascending"), ("scoring", "ascending")])
    return ordered.drop_columns(_NOT_SHOWN)


def _tell_rejects(batch: Lines, rejects: pa.Table) -> None:
    for row in rejects.sort_by("position").to_pylist():
        where = f"{batch.name}:{batch.numbers[row['position']]}"
        scoring = f" by {row['scoring']}" if row["scoring"] else ""
        told = f"{where}: {row['error_code']}{scoring}: {row['error']}"
        print(visible(told), file=sys.stderr)


def _moment(text: str) -> int | None:
    return None if text == "record" else parse_time(text)
