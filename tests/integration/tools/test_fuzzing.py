"""Fuzzing as `make fuzz` does it, in processes of its own; for longer in `tests/verify`."""

from __future__ import annotations

import re
from pathlib import Path

from tools.chaos.fuzzing.corpus import CORPUS
from tools.testkit.fuzzed import check_bombs, check_nothing_breaks, fuzz

# The exact parser fails on what it should reject.
BROKEN = """
from scorestream.wallets.core import decode
parse = decode.parse_exact
def broken(value):
    if value and b"MISTAKE" in value:
        raise KeyError("timestamp")
    return parse(value)
decode.parse_exact = broken
"""

# An engine that never ends.
HANGING = """
import os, sys
from tools.chaos.fuzzing import __main__, supervising
os.environ["PYTHONPATH"] += ":{}"
supervising.ENGINES["random"] = "hanging"
supervising.MARGIN_SECONDS = supervising.PROGRESS_SECONDS = 1
sys.exit(__main__.main())
"""


def test_nothing_breaks_for_as_long_as_we_have(tmp_path: Path) -> None:
    check_nothing_breaks("random", 5, tmp_path)


def test_the_same_seed_gives_the_same_messages(tmp_path: Path) -> None:
    arguments = ("--engine", "random", "--runs", "3", "--seconds", "300")
    told = [fuzz(*arguments, "--findings", str(tmp_path)).stdout for _ in range(2)]
    counts = [re.findall(r"^  (\w+) +(\d+)$", text, re.MULTILINE) for text in told]
    assert counts[0] == counts[1]
    assert sum(int(count) for _, count in counts[0]) >= 3


def test_what_breaks_something_is_kept_and_named(tmp_path: Path) -> None:
    corpus, findings = tmp_path / "corpus", tmp_path / "findings"
    corpus.mkdir()
    bad = (CORPUS / "hostile" / "usual").read_bytes().replace(b"1623703638", b'"MISTAKE"')
    (corpus / "bad").write_bytes(bad)
    # The engine alone, in this broken process; the file `tally.json` is what it tells.
    plan = (
        f'{{"engine": "random", "seconds": 60, "runs": 0, "seed": 1, "corpus": "{corpus}", '
        f'"work": "{tmp_path}", "findings": "{findings}"}}'
    )
    done = fuzz(plan, code=BROKEN + "from tools.chaos.fuzzing.seeded import main\nmain()")
    assert done.returncode == 3, done.stdout + done.stderr
    [kept] = findings.iterdir()
    assert b"MISTAKE" in kept.read_bytes()
    tally = (tmp_path / "tally.json").read_text(encoding="utf-8")
    assert str(kept) in tally
    assert "KeyError" in tally


def test_an_engine_that_hangs_is_killed_and_called_broken(tmp_path: Path) -> None:
    (tmp_path / "hanging.py").write_text("import time\ntime.sleep(3600)")
    done = fuzz("--seconds", "1", "--engine", "random", code=HANGING.format(tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN: the engine hangs, and was killed 1 s after it should have ended" in done.stdout


def test_an_empty_corpus_is_one_clear_error(tmp_path: Path) -> None:
    done = fuzz("--corpus", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("InputError: ")


def test_bombs_cost_no_more_memory_than_they_may() -> None:
    check_bombs(10)
