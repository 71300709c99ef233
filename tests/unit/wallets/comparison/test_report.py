"""What the report and the picture of a comparison say, without Spark."""

from __future__ import annotations

from xml.etree import ElementTree

from scorestream.wallets.comparison.figures import BARS, CELLS, Side
from scorestream.wallets.comparison.picture import as_svg
from scorestream.wallets.comparison.reasons import Difference, explained, flat
from scorestream.wallets.comparison.report import as_markdown
from tools.testkit.compared import FIGURES, score


def test_numbers_are_found_at_any_depth() -> None:
    nested = {"a": 1, "b": {"c": 2.5, "d": {"e": 0}}, "f": None, "g": "text"}
    assert flat(nested) == {"a": 1.0, "b.c": 2.5, "b.d.e": 0.0}
    assert flat(None) == {}


def test_reasons_are_ordered_by_points_and_by_share() -> None:
    left = score(10, {"lp": {"x": 1, "y": 5, "z": 3}}, hold=100, count=2, same=7)
    right = score(6, {"lp": {"x": 3, "y": 1, "z": 3}}, hold=110, count=0, same=7)
    move = explained("w", left, right)
    assert move.parts == [Difference("lp.y", 5, 1), Difference("lp.x", 1, 3)]
    assert move.features == [Difference("count", 2, 0), Difference("hold", 100, 110)]
    assert (move.left, move.right) == (10, 6)
    assert not move.only_left | move.only_right


def test_breakdowns_of_other_parts_are_said_to_differ() -> None:
    left = score(10, {"lp": {"volume": 4, "gone": 1}, "swap": None})
    right = score(6, {"lp": {"volume": 2, "gone": None}, "washed": -3})
    report = as_markdown(Side("a"), Side("b"), FIGURES, [explained("w", left, right)])
    assert "parts of the breakdowns differ (only a: lp.gone; only b: washed)" in report
    assert "| w | 10.00 | 6.00 | -4.00 | lp.volume -2.00 | none |" in report


def test_only_so_many_reasons_are_shown_and_weights_are_one() -> None:
    many = explained("w", score(1, dict.fromkeys("abcde", 1)), score(9, dict.fromkeys("abcde", 2)))
    weights = explained("v", score(1, {"a": 1}), score(9, {"a": 1}))
    report = as_markdown(Side("a"), Side("b"), FIGURES, [many, weights])
    assert "| a +1.00, b +1.00, c +1.00, 2 more |" in report
    assert "| none: the weights of the final score differ |" in report


def test_a_wallet_of_any_letters_stays_in_its_cell() -> None:
    move = explained("a|b\n# c", score(1, {"a": 1}), score(9, {"a": 2}))
    report = as_markdown(Side("a"), Side("b"), FIGURES, [move])
    assert r"| a\|b\\n\# c | 1.00 |" in report


def test_the_picture_draws_each_cell_and_bar_whatever_the_sides_are_called() -> None:
    cells = {(0, 0): 1, (CELLS - 1, CELLS - 1): 1}
    svg = as_svg("<a> & b", 'c"', FIGURES, cells=cells, bars={0: 1, BARS - 1: 1})
    root = ElementTree.fromstring(svg)
    counted = [e for e in root.iter() if e.tag.endswith("title")]
    assert len(counted) == 4
    texts = {e.text for e in root.iter() if e.tag.endswith("text")}
    assert {"score of <a> & b", 'score of c"', "2 wallets that moved; 0 did not"} <= texts
