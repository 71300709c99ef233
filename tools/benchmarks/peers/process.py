"""A peer as a process: its case as arguments, its time as one line of JSON."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import TypeVar, get_type_hints

from tools.benchmarks.peers import FileCase, StreamCase

Case = TypeVar("Case", StreamCase, FileCase)


def arguments(case: StreamCase | FileCase) -> list[str]:
    """The command line that :func:`parsed` reads."""
    return [text for name, value in asdict(case).items() for text in (_option(name), str(value))]


def parse_arguments(kind: type[Case], given: list[str] | None = None) -> Case:
    """The case that a command line describes."""
    parser = argparse.ArgumentParser()
    for name, of_type in get_type_hints(kind).items():
        parser.add_argument(_option(name), type=of_type, required=True)
    return kind(**vars(parser.parse_args(given)))


def main(run: Callable[[Case], float], kind: type[Case]) -> None:
    """Run a peer as its arguments say, and print its seconds."""
    print(json.dumps({"seconds": run(parse_arguments(kind))}))


def seconds_of(peer: str, case: StreamCase | FileCase, python: str = sys.executable) -> float:
    """Run a peer in a process of its own.

    Args:
        peer: name of its module.
        case: what it has to do.
        python: interpreter of the environment that has its packages.
    """
    command = [python, "-m", f"tools.benchmarks.peers.{peer}", *arguments(case)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
