"""The engine `coverage`: libFuzzer, which keeps what reaches new code of the core (Atheris).

    python -m tools.chaos.fuzzing.guided PLAN

is started by `python -m tools.chaos.fuzzing`; PLAN is JSON. libFuzzer ends the process itself.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Final

import atheris
import msgspec

# The parsers alone, where messages part: Atheris 3.0 never frees what a comparison of arrays gives,
# and would need megabytes for each execution.
with atheris.instrument_imports(
    ["scorestream"], exclude=["scorestream.wallets.core.json_brackets"]
):
    import_module("scorestream.wallets.core.exact_parser")

from tools.chaos.fuzzing.execution import MAX_EXECUTION_SECONDS, Execution, Plan
from tools.chaos.fuzzing.mutation import mutate

MAX_MEGABYTES: Final = 2048
MAX_INPUT_BYTES: Final = 32 * 1024
DICTIONARY: Final = Path(__file__).parent / "json.dict"
# Of all mutations so many are left to libFuzzer, which knows bytes and the dictionary.
PLAIN_SHARE: Final = 0.25


def main() -> None:
    """Hand over to libFuzzer."""
    plan = msgspec.json.decode(sys.argv[1], type=Plan)
    execution = Execution(plan)

    def execute(value: bytes) -> None:
        execution.run(value)

    def mutant(value: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < PLAIN_SHARE:
            return bytes(atheris.Mutate(value, most))
        return mutate(value, random, execution.corpus)[:most]

    atheris.Setup(_arguments(plan), execute, custom_mutator=mutant)
    atheris.Fuzz()


def _arguments(plan: Plan) -> list[str]:
    corpus_folder = Path(plan.work) / "corpus"
    corpus_folder.mkdir()
    Path(plan.findings).mkdir(parents=True, exist_ok=True)
    options = {
        "max_total_time": plan.seconds,
        "runs": plan.runs or -1,
        # 0 would be a seed of the clock.
        "seed": plan.seed + 1,
        "timeout": MAX_EXECUTION_SECONDS,
        "rss_limit_mb": MAX_MEGABYTES,
        "max_len": MAX_INPUT_BYTES,
        "dict": DICTIONARY,
        "artifact_prefix": f"{plan.findings}/",
    }
    flags = [f"-{name}={value}" for name, value in options.items()]
    return ["guided", *flags, str(corpus_folder), plan.corpus]


if __name__ == "__main__":
    main()
