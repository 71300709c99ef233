"""The README tells the truth: its example, its settings, its commands."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

from scorestream.commands.main import COMMANDS
from scorestream.infra.config.settings import PROJECT_ROOT, Settings
from scorestream.wallets.core.pipeline import score_messages
from scorestream.wallets.core.scoring import Scoring

README = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_comes_out_as_shown(scoring: Scoring) -> None:
    message, success = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    shown: dict[str, Any] = json.loads(success)
    scored = score_messages([message.encode()], np.array([shown["as_of"]]), (scoring,))
    [score] = scored.scores.to_pylist()
    assert score["wallet_address"] == shown["wallet_address"]
    assert str(score["zscore"]) == shown["zscore"]
    assert score["tags"] == shown["tags"]
    assert scoring.config_hash == shown["config_hash"]
    for part, points in shown["breakdown"].items():
        assert {k: v for k, v in points.items() if k != "…"}.items() <= score["breakdown"][
            part
        ].items()


def test_every_setting_is_in_the_table() -> None:
    missing = [name.upper() for name in Settings.model_fields if f"`{name.upper()}`" not in README]
    assert missing == []


def test_it_names_every_command_of_scorestream_and_no_other() -> None:
    assert set(re.findall(r"^\| `scorestream (\w+)", README, re.MULTILINE)) == set(COMMANDS)


def test_every_job_and_make_target_it_names_is_there() -> None:
    jobs = set(re.findall(r"spark-submit\.sh (\w+)", README))
    assert jobs == {job.stem for job in (PROJECT_ROOT / "jobs").glob("*.py")}
    files = [PROJECT_ROOT / "Makefile", *(PROJECT_ROOT / "deploy").glob("*.mk")]
    makefile = "\n".join(file.read_text(encoding="utf-8") for file in files)
    for target in set(re.findall(r"`?make ([a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
