"""Hostile messages: each has one result, costs little, and changes nothing for its neighbours."""

from __future__ import annotations

import re
from dataclasses import replace
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.wallets.core.pipeline import Scored, score_messages
from scorestream.wallets.core.scoring import Scoring
from tools.chaos.fuzzing import checking
from tools.chaos.fuzzing.checking import (
    CODES,
    SCORED,
    Broken,
    Checker,
    HostileMessage,
)
from tools.chaos.fuzzing.corpus import read_corpus
from tools.chaos.fuzzing.mutation import MAX_BYTES, MUTATIONS, mutate
from tools.chaos.fuzzing.records import hostile_metadata

CORPUS = read_corpus()
USUAL = CORPUS["hostile/usual"].decode()
TX = "data[0].transactions[0]"


@pytest.fixture(scope="module")
def checker(scoring: Scoring) -> Checker:
    return Checker(scoring)


def usual(old: str, new: str | bytes) -> bytes:
    """The usual message with a piece of its JSON text exchanged."""
    assert old in USUAL
    return USUAL.encode().replace(old.encode(), new if isinstance(new, bytes) else new.encode(), 1)


HOSTILE: list[tuple[str, bytes, str, str]] = [
    ("a key twice, the last one good", usual('"data"', '"data":5,"data"'), SCORED, ""),
    (
        "a key twice, the last one bad",
        usual('"swap"', '"swap","action":5'),
        "invalid_type",
        f"{TX}.action: must be a string, is 5",
    ),
    (
        "a leg twice, the last one null",
        usual('"tokenOut"', '"tokenIn":null,"tokenOut"'),
        SCORED,
        "",
    ),
    ("the list twice", usual('"wallet_address"', '"data":[],"wallet_address"'), SCORED, ""),
    (
        "high surrogate alone",
        usual("USDC", "\\ud800"),
        "invalid_utf8",
        f"{TX}.tokenIn.symbol: has a lone surrogate, which UTF-8 cannot hold",
    ),
    (
        "surrogates the wrong way round",
        usual("USDC", "\\ude00\\ud83d"),
        "invalid_utf8",
        f"{TX}.tokenIn.symbol: has a lone surrogate, which UTF-8 cannot hold",
    ),
    (
        "high surrogate and a letter",
        usual('"0xAb"', '"\\ud800\\u0041"'),
        "invalid_utf8",
        "wallet_address: has a lone surrogate, which UTF-8 cannot hold",
    ),
    ("lone surrogate that nobody reads", usual("{", '{"x":"\\ud800",'), SCORED, ""),
    ("lone surrogate in a name", usual("{", '{"\\udfff":0,'), SCORED, ""),
    (
        "lone surrogate in an unused leg",
        usual('"tokenIn"', '"token0":["\\ud800"],"tokenIn"'),
        SCORED,
        "",
    ),
    (
        "lone surrogate, and not JSON",
        usual("USDC", "\\ud800")[:-1],
        "invalid_json",
        "not JSON: cut off at byte",
    ),
    ("an escaped backslash before a u", usual("USDC", "\\\\ud800"), SCORED, ""),
    ("surrogates that belong together", usual("USDC", "\\ud83d\\ude00"), SCORED, ""),
    ("a surrogate as bytes", usual("USDC", b"\xed\xa0\x80"), "invalid_utf8", "not UTF-8: "),
    ("an overlong slash", usual("USDC", b"\xc0\xaf"), "invalid_utf8", "not UTF-8: "),
    ("UTF-16", USUAL.encode("utf-16"), "invalid_utf8", "not UTF-8: "),
    ("UTF-16 of ASCII without a mark", USUAL.encode("utf-16-le"), "invalid_json", "not JSON: "),
    (
        "byte order mark",
        b"\xef\xbb\xbf" + USUAL.encode(),
        "invalid_json",
        "not JSON: begins with a byte order mark",
    ),
    ("USD of 10^5 digits", usual("10.5", "1" + "0" * 100_000), "invalid_amount", "is 1000"),
    ("USD of 10^5 decimals", usual("10.5", "0." + "3" * 100_000), SCORED, ""),
    ("USD 1e400", usual("10.5", "1e400"), "invalid_amount", "is 1e400"),
    (
        "USD with a huge exponent",
        usual("10.5", "1e99999999999999999999"),
        "invalid_amount",
        "is 1e9",
    ),
    ("USD as small as can be", usual("10.5", "1e-99999999999999999999"), SCORED, ""),
    ("USD -0", usual("10.5", "-0"), SCORED, ""),
    ("USD -1e-400, which is -0", usual("10.5", "-1e-400"), SCORED, ""),
    ("USD NaN", usual("10.5", "NaN"), "invalid_json", "not JSON: NaN is not a JSON value"),
    (
        "amount of 10^5 digits",
        usual('"amount":5', f'"amount":{"9" * 10**5}'),
        "invalid_amount",
        "is 9",
    ),
    ("amount -0", usual('"amount":5', '"amount":-0'), SCORED, ""),
    ("amount with a zero byte", usual('"7"', '"7\\u0000"'), "invalid_amount", 'is "7\\u0000"'),
    ("amount in other digits", usual('"7"', '"\u0667"'), "invalid_amount", 'is "\\u0667"'),
    ("timestamp of 10^5 digits", usual("1623703638", "9" * 10**5), "invalid_timestamp", "is 9"),
    ("timestamp -0", usual("1623703638", "-0"), SCORED, ""),
    (
        "timestamp a little off",
        usual("1623703638", "1623703638.0000000000000001"),
        "invalid_timestamp",
        "is 1623703638.0000000000000001",
    ),
    ("wallet with a zero byte", usual("0xAb", "\\u0000"), SCORED, ""),
    ("wallet with a line feed", usual("0xAb", "0xAB\\n"), SCORED, ""),
    ("a control character", usual("USDC", "\x01"), "invalid_json", "not JSON: "),
    ("escaped names", usual("amountUSD", "\\u0061mountUSD"), SCORED, ""),
    ("a form feed behind it", USUAL.encode() + b"\x0c", "invalid_json", "not JSON: trailing"),
    ("two messages", USUAL.encode() * 2, "invalid_json", "not JSON: trailing characters"),
    (
        "the limit of a float, twice",
        CORPUS["hostile/usd-largest"],
        "non_finite_result",
        "a feature or score is not finite",
    ),
]


@pytest.mark.parametrize(
    ("value", "code", "text"), [each[1:] for each in HOSTILE], ids=[each[0] for each in HOSTILE]
)
def test_a_hostile_message_has_its_outcome(
    value: bytes, code: str, text: str, checker: Checker
) -> None:
    [outcome] = checker.check([HostileMessage(value)])
    assert outcome.code == code
    assert text in outcome.error


def test_the_last_of_a_repeated_key_counts(scoring: Scoring, checker: Checker) -> None:
    repeated = usual('"amountUSD":10.5', '"amountUSD":99,"amountUSD":10.5')
    odd = repeated.replace(b"1623703638", b'"1623703638"')
    for value in (repeated, odd):
        _, scored = checker.scored([HostileMessage(value), HostileMessage(USUAL.encode())])
        first, second = scored.scores.to_pylist()
        assert first["features"] == second["features"]


FOUND = {
    "found/escaped-brackets-hide-depth": "too_deep",
    "found/deep-within-a-leg": "too_deep",
    "found/escaped-characters-lengthen-error": "invalid_amount",
}


def test_what_once_broke_something_has_its_outcome(checker: Checker) -> None:
    found = [name for name in CORPUS if name.startswith("found/")]
    outcomes = checker.check([HostileMessage(CORPUS[name]) for name in found])
    assert {n: o.code for n, o in zip(found, outcomes, strict=True)} == FOUND


def test_the_corpus_keeps_what_is_promised(checker: Checker) -> None:
    messages = [HostileMessage(value) for value in CORPUS.values()]
    together = checker.check(messages)
    assert [checker.check([message]) for message in messages] == [[o] for o in together]
    # What only the corpus has, mutation may not find in a minute.
    assert {outcome.code for outcome in together} == {SCORED, *CODES} - {"null_value"}
    assert sum(map(len, CORPUS.values())) < 300_000


@given(seed=st.integers(0, 2**32), names=st.lists(st.sampled_from(sorted(CORPUS)), min_size=1))
@settings(max_examples=40, deadline=None)
def test_mutants_keep_what_is_promised(seed: int, names: list[str], checker: Checker) -> None:
    random, pool = Random(seed), list(CORPUS.values())
    mutants = [mutate(CORPUS[name], random, pool) for name in names[:20]]
    checker.check([HostileMessage(mutant, *hostile_metadata(random)) for mutant in mutants])


def test_each_mutation_changes_messages_and_keeps_them_small() -> None:
    pool = list(CORPUS.values())
    for mutation in set(MUTATIONS):
        mutants = [mutation(USUAL.encode(), Random(seed), pool) for seed in range(20)]
        assert len(set(mutants)) > 2, mutation
    assert max(len(mutate(value, Random(1), pool)) for value in pool) <= MAX_BYTES


def test_every_error_code_is_documented() -> None:
    page = (PROJECT_ROOT / "docs" / "messages.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `(\w+)` \| .*\|.*\|.*\|$", page.partition("## Error codes")[2], re.MULTILINE
    )
    elsewhere = {"invalid_field", "nothing_yet", "missing_as_of", "unscorable"}
    known = {"error_code", *CODES, *elsewhere}
    assert set(rows[: len(known)]) == known


def _without_rejects(scored: Scored) -> Scored:
    return replace(scored, rejects=scored.rejects.slice(0, 0))


def _with_doubled_scores(scored: Scored) -> Scored:
    return replace(scored, scores=pa.concat_tables([scored.scores] * 2))


def _with_another_zscore(scored: Scored) -> Scored:
    at = scored.scores.schema.get_field_index("final_score")
    more = pa.array([number + 1 for number in scored.scores["final_score"].to_pylist()])
    return replace(scored, scores=scored.scores.set_column(at, "final_score", more))


def _without_history(scored: Scored) -> Scored:
    history = scored.transactions
    assert history is not None
    return replace(scored, transactions=history.slice(0, history.num_rows - 1))


@pytest.mark.parametrize(
    "spoiled", [_without_rejects, _with_doubled_scores, _with_another_zscore, _without_history]
)
def test_a_broken_promise_is_noticed(
    spoiled: Any, checker: Checker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: Any, **named: Any) -> Scored:
        made: Scored = spoiled(score_messages(*given, **named))
        return made

    monkeypatch.setattr(checking, "score_messages", broken)
    with pytest.raises(Broken):
        checker.check([HostileMessage(USUAL.encode()), HostileMessage(b"no JSON")])
