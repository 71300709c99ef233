"""Values that look like markup, formulas or escape sequences, through every printer."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from decimal import Decimal
from html import unescape
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from scorestream.commands.message_files import Lines
from scorestream.commands.score import _tell_rejects
from scorestream.commands.score_output import print_scores
from scorestream.infra.cli.run import run_job
from scorestream.infra.display import (
    cell,
    heading,
    html_text,
    markdown_text,
    spreadsheet_text,
    visible,
    visible_lines,
)
from scorestream.infra.errors import InputError
from scorestream.infra.logs import configure_logs
from scorestream.tabular.drift.measures import ColumnDrift
from scorestream.tabular.drift.report import Reported, render_html
from scorestream.tabular.model.trained_model import ModelCard
from scorestream.tabular.model.validation import Problem
from scorestream.tabular.training.config.sections import Drift
from scorestream.tabular.training.runs.history import _print_table
from scorestream.tabular.training.runs.plots import evaluation_plots, importance_plot
from scorestream.tabular.training.runs.profile import Profile, TextProfile
from scorestream.tabular.training.runs.run_log import _problems_csv
from scorestream.wallets.comparison.figures import Side
from scorestream.wallets.comparison.picture import as_svg
from scorestream.wallets.comparison.reasons import explained
from scorestream.wallets.comparison.report import as_markdown
from scorestream.wallets.core.decode import Reject
from scorestream.wallets.core.pipeline import reject_rows
from tools.testkit.compared import FIGURES, score

HOSTILE = (
    "[weth/usdc] 0.3%",
    "[/x]",
    "[bold red]gone[/]",
    "\x1b[2J\x1b]0;title\x07",
    "\u009b31m",
    "a\nb\r\tc\x00\x7f",
    "\u202eevil\u2066x\u2069",
    "\u200b\u2028\ufeff",
    "<script>alert(1)</script> & &lt; \"'",
    "| a | `b` *c* _d_ [e](f) ![g](h) $i$ ~~j~~ # k \\",
    "=1+1",
    "@SUM(A1)",
    "$\\frac{1}{$",
    "_hidden",
    ":smile:",
    "\ud800",
)
# What turns a terminal's colours on or moves its cursor.
UNSEEN = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
hostile = pytest.mark.parametrize("value", HOSTILE)
texts = st.text() | st.sampled_from(HOSTILE)


@given(texts)
def test_what_is_shown_can_be_seen_and_stays_in_its_line(text: str) -> None:
    assert visible(text).isprintable()
    assert visible_lines(text).replace("\n", "").isprintable()
    if text.isprintable():
        assert visible(text) == text


@given(texts)
def test_rich_prints_a_cell_as_it_is(text: str) -> None:
    out = io.StringIO()
    table = Table(heading(text), box=None, padding=0)
    table.add_row(cell(text))
    Console(file=out, width=10_000, force_terminal=True, color_system=None).print(table)
    above, below = out.getvalue().splitlines()
    assert re.sub(r"\x1b\[[0-9;]*m", "", above).strip() == visible(text).strip()
    assert below.strip() == visible(text).strip()


@given(texts)
def test_a_page_shows_it_as_it_is(text: str) -> None:
    assert unescape(html_text(text)) == visible(text)
    assert not set("<>\"'") & set(html_text(text))
    assert ElementTree.fromstring(f"<a b='{html_text(text)}'/>").get("b") == visible(text)


@given(texts)
def test_markdown_shows_it_as_it_is(text: str) -> None:
    shown = markdown_text(text)
    assert re.sub(r"\\([\\`*\[\]<|~#&$_])", r"\1", shown) == visible(text)
    assert not re.search(r"(?<!\\)(\\\\)*[`*\[\]<|~#&$]", shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        *((formula, f"'{formula}") for formula in ("=1+1", "+A1", "-A1", "@SUM(A1)", "\t=1")),
        *((plain, plain) for plain in ("-1.5", "+2", "-1e-7", "-.5", "0xAB", "a=b", "", "'=1")),
    ],
)
def test_a_spreadsheet_runs_no_formula(text: str, shown: str) -> None:
    assert spreadsheet_text(text) == shown


@hostile
def test_a_comparison(value: str) -> None:
    sides = Side(value, "run"), Side("b", value)
    left, right = score(1, {value: 1}, **{value: 1}), score(9, {value: 2}, **{value: 2})
    report = as_markdown(*sides, FIGURES, [explained(value, left, right)], picture="p.svg")
    assert report.count(markdown_text(value)) >= 6
    assert not UNSEEN.search(report)
    widths = {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in report.splitlines()[-4:]}
    assert widths - {0} == {7}
    picture = as_svg(value, value, FIGURES, cells={(0, 0): 1}, bars={0: 1})
    shown = ["".join(node.itertext()) for node in ElementTree.fromstring(picture).iter()]
    assert shown.count(f"score of {visible(value)}") == 2


@hostile
def test_a_drift_report(value: str) -> None:
    column = TextProfile(count=1, missing=0.0, values=(value,), shares=(1.0, 0.0))
    profile = Profile(
        name=value,
        source=value,
        data_version=value,
        rows=1,
        held_out=0,
        bad_rows={},
        sample=None,
        transformations=(),
        columns={},
        predictions={},
    )
    drift = ColumnDrift(value, 0.0, 0.0, 0.0, 0.0, drifted=False, profile=column, shares=(1.0, 0.0))
    page = render_html(profile, Reported(value, value, 1, 1), Drift(), [drift])
    assert page.count(html_text(value)) >= 7
    assert "<script" not in page
    assert not UNSEEN.search(page)


@hostile
def test_pictures_of_a_training(value: str) -> None:
    card = ModelCard.model_construct(task="classification", labels=(value, "b"))
    truth, margin = np.array([0.0, 1.0, 1.0]), np.array([-1.0, 1.0, 2.0])
    pictures = [*evaluation_plots(card, truth, margin).values(), importance_plot({value: 1.0})]
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)


@hostile
def test_the_history_of_a_model(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    row = {
        "trained": "2026",
        "version": None,
        "aliases": [value],
        "status": "FINISHED",
        "metrics": {value: 1.0},
        **dict.fromkeys(("data_version", "code_version", "verdict"), value),
    }
    _print_table([row])
    shown = capsys.readouterr().out
    assert not UNSEEN.search(shown)
    assert shown.count(visible(value).strip()[:4]) >= 4


def utf8(value: str) -> str:
    """A value as Arrow and messages can hold it."""
    return value.encode(errors="replace").decode()


@hostile
def test_scores(value: str) -> None:
    name = utf8(value)
    row = {
        "wallet_address": name,
        "zscore": Decimal(1),
        "breakdown": {"lp": {"a": 1.0}},
        "tags": [name],
        "scoring": "dex-v1",
        "categories": [],
    }
    shown, lines = io.StringIO(), io.StringIO()
    print_scores(iter([pa.Table.from_pylist([row])]), "table", shown)
    assert not UNSEEN.search(shown.getvalue())
    assert shown.getvalue().count(visible(name).strip()[:4]) >= 2
    print_scores(iter([pa.Table.from_pylist([row])]), "json", lines)
    assert json.loads(lines.getvalue())["wallet_address"] == name


@hostile
def test_rejected_lines(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    reject = Reject(0, "invalid_type", utf8(value), None, 0)
    rejects = reject_rows([reject], np.zeros(1, np.int64))
    _tell_rejects(Lines(value, [1], [b""]), rejects)
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert not UNSEEN.search(told)


@hostile
def test_rows_that_are_bad_are_told_without_formulas(value: str) -> None:
    [_, row] = csv.reader(io.StringIO(_problems_csv([Problem(1, value, value)]), newline=""))
    assert row == ["1", spreadsheet_text(value), spreadsheet_text(value)]


def logged(value: Any, monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> str:
    err = io.StringIO()
    monkeypatch.setattr(err, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", err)
    configure_logs("INFO")
    try:
        structlog.get_logger().info("said", value=value, many=[value])
    finally:
        structlog.reset_defaults()
    return err.getvalue()


@hostile
def test_a_log_line(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = re.sub(r"\x1b\[[0-9;]*m", "", logged(value, monkeypatch, terminal=True))
    assert visible(value) in told or repr(value) in told
    assert not UNSEEN.search(told)
    assert told.count("\n") == 1
    line = logged(value, monkeypatch, terminal=False)
    assert json.loads(line)["value"] == value
    assert line.isascii()


@hostile
def test_the_error_of_a_command(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_settings: object) -> None:
        raise InputError(f"column {value}: is wrong")

    assert run_job(fail) == 1
    structlog.reset_defaults()
    assert not UNSEEN.search(capsys.readouterr().err)
