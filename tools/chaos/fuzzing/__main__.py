"""`make fuzz`: hostile messages through the decoder and the scorer, for as long as asked."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.infra.errors import ScorestreamError
from tools.chaos.fuzzing.corpus import CORPUS
from tools.chaos.fuzzing.execution import Plan
from tools.chaos.fuzzing.supervising import fuzz


def main() -> int:
    """Fuzz as the arguments say; 1 if something broke, else 0."""
    parser = argparse.ArgumentParser(prog="python -m tools.chaos.fuzzing", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="end at the latest")
    parser.add_argument("--runs", type=int, default=0, help="executions; 0: as time allows")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument(
        "--corpus", type=Path, default=CORPUS, metavar="DIR", help="messages to start from"
    )
    parser.add_argument("--engine", choices=("coverage", "random"), default="coverage")
    parser.add_argument(
        "--findings",
        type=Path,
        default=PROJECT_ROOT / ".scorestream" / "fuzzing",
        metavar="DIR",
        help="where messages are kept that break something",
    )
    arguments = parser.parse_args()
    try:
        return fuzz(_plan(arguments))
    except ScorestreamError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2


def _plan(arguments: argparse.Namespace) -> Plan:
    engine = arguments.engine
    if engine == "coverage" and find_spec("atheris") is None:
        print("Atheris is not installed: mutants are drawn by chance (--engine random)")
        engine = "random"
    return Plan(
        engine,
        arguments.seconds,
        arguments.runs,
        arguments.seed,
        corpus=str(arguments.corpus),
        work="",
        findings=str(arguments.findings),
    )


if __name__ == "__main__":
    sys.exit(main())
