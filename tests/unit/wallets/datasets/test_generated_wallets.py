"""Generated wallets: the same by seed, bounded, of behaviours that differ and overlap."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from scorestream.infra.errors import InputError
from scorestream.wallets.core.pipeline import score_messages
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.datasets.generated.behaviours import (
    BEHAVIOURS,
    MAX_TRANSACTIONS,
    Histories,
)
from scorestream.wallets.datasets.generated.messages import (
    GenerateOptions,
    generate_wallets,
    truth_path,
)
from tools.testkit.wallets import (
    DAY,
    DAYS,
    UNTIL,
    generate_histories,
)


@pytest.fixture(scope="module")
def histories() -> Histories:
    return generate_histories(1500, seed=1)


def test_the_same_seed_gives_the_same_histories(histories: Histories) -> None:
    again = generate_histories(1500, seed=1)
    assert again.rows.equals(histories.rows)
    assert again.behaviours == histories.behaviours
    assert not generate_histories(1500, seed=2).rows.equals(histories.rows)


def test_histories_are_bounded(histories: Histories) -> None:
    times = np.asarray(histories.rows["timestamp"])
    assert UNTIL - DAYS * DAY <= times.min() <= times.max() <= UNTIL
    wallets = np.asarray(histories.rows["wallet"])
    counts = np.bincount(wallets)
    assert len(counts) == 1500
    assert counts.min() >= 1
    assert counts.max() == MAX_TRANSACTIONS
    same = wallets[1:] == wallets[:-1]
    assert (np.diff(times)[same] >= 0).all()


def test_behaviours_differ_and_overlap(histories: Histories) -> None:
    rows = histories.rows.to_pandas()
    rows["behaviour"] = np.array(histories.behaviours)[rows["wallet"]]
    wallets = rows.groupby("wallet").agg(
        behaviour=("behaviour", "first"),
        count=("usd", "size"),
        usd=("usd", "median"),
        deposits=("action", lambda action: (action == 1).mean()),
        last=("timestamp", "max"),
    )
    assert set(wallets["behaviour"]) == set(BEHAVIOURS)
    medians = wallets.groupby("behaviour").median()
    assert medians["count"].drop("bot").max() < medians["count"]["bot"]
    assert medians["usd"].drop("whale").max() * 5 < medians["usd"]["whale"]
    assert medians["deposits"].idxmax() == "lp_farmer"
    assert medians["last"].idxmin() == "dormant"
    bots, retail = (wallets["count"][wallets["behaviour"] == name] for name in ("bot", "retail"))
    assert bots.quantile(0.1) < retail.quantile(0.97)


def test_wash_traders_trade_back_and_others_hardly_ever(histories: Histories) -> None:
    rows = histories.rows.to_pandas()
    rows["behaviour"] = np.array(histories.behaviours)[rows["wallet"]]
    swaps = rows[rows["action"] == 0]
    before = swaps.groupby(["wallet", "pool"])[["timestamp", "usd", "back"]].shift(1)
    soon = swaps["timestamp"] - before["timestamp"] <= 300
    alike = (swaps["usd"] / before["usd"]).between(0.99, 1.01)
    traded_back = soon & alike & (swaps["back"] != before["back"])
    shares = traded_back.groupby(swaps["behaviour"]).mean()
    assert shares["wash_trader"] > 0.2
    assert shares.drop("wash_trader").max() < 0.05


def test_files_hold_messages_that_the_core_scores_and_the_truth(
    scoring: Scoring, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contents = []
    for folder in ("a", "b"):
        output = str(tmp_path / folder / "wallets.jsonl.gz")
        generate_wallets(GenerateOptions(80, 60, 3, UNTIL, output))
        contents.append(gzip.decompress(Path(output).read_bytes()))
    assert contents[0] == contents[1]
    lines = [json.loads(line) for line in contents[0].splitlines()]
    assert {line["as_of"] for line in lines} == {UNTIL}
    values = [json.dumps(line["message"]).encode() for line in lines]
    scored = score_messages(values, np.full(80, UNTIL), (scoring,))
    assert (scored.scores.num_rows, scored.rejects.num_rows) == (80, 0)
    truth = truth_path(output).read_text().splitlines()
    assert truth[0] == "wallet_address,behaviour"
    wallets = [line["message"]["wallet_address"] for line in lines]
    assert [row.partition(",")[0] for row in truth[1:]] == wallets
    assert "80 wallets, " in capsys.readouterr().out


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"--output .*: cannot be written"):
        generate_wallets(GenerateOptions(5, 5, 1, UNTIL, str(tmp_path / "file" / "x.jsonl")))
