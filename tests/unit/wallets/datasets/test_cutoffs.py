"""Examples of wallet models: features know nothing of later transactions, labels are those."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from scorestream.infra.config.settings import PROJECT_ROOT
from scorestream.tabular.training.config.load import load_use_case
from scorestream.wallets.core.pipeline import score_messages
from scorestream.wallets.core.scoring import Scoring
from scorestream.wallets.datasets.cutoffs import EXAMPLES, Cutoffs, build_examples
from scorestream.wallets.datasets.generated.histories import Row
from scorestream.wallets.datasets.generated.messages import messages_of
from scorestream.wallets.predictors.apply import MODEL_COLUMNS, build_model_input
from tools.testkit.wallets import (
    DAY,
    UNTIL,
    generate_histories,
    history_of,
    rows_of,
)

MONTH = 30 * DAY
MOMENTS = [UNTIL - 90 * DAY, UNTIL - 60 * DAY, UNTIL - 30 * DAY]
CUTOFFS = Cutoffs(MOMENTS, MONTH)
SEEN = ["wallet_key", "as_of", *MODEL_COLUMNS, "holds_liquidity", "active_before"]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return rows_of(generate_histories(150, seed=4))


@pytest.fixture(scope="module")
def examples(rows: list[Row], scoring: Scoring) -> pa.Table:
    return build_examples(history_of(rows), CUTOFFS, scoring)


def at(examples: pa.Table, moment: int) -> list[Row]:
    found = [row for row in examples.select(SEEN).to_pylist() if row["as_of"] == moment]
    return sorted(found, key=lambda row: str(row["wallet_key"]))


@pytest.mark.parametrize("moment", MOMENTS)
def test_what_comes_after_a_cutoff_changes_no_feature(
    moment: int, rows: list[Row], examples: pa.Table, scoring: Scoring
) -> None:
    expected = at(examples, moment)
    assert len(expected) > 50
    without = history_of([row for row in rows if row["timestamp"] <= moment])
    assert at(build_examples(without, CUTOFFS, scoring), moment) == expected
    later = [row for row in rows if row["timestamp"] <= moment - MONTH]
    more = [
        row
        | {
            "document_id": f"new {row['document_id']}",
            "timestamp": moment + 1 + place % MONTH,
            "leg0_usd": 1e6,
        }
        for place, row in enumerate(later)
    ]
    with_more = build_examples(history_of([*rows, *more]), CUTOFFS, scoring)
    assert at(with_more, moment) == expected
    labels = ["as_of", "wallet_key", "active_later"]
    assert with_more.select(labels).to_pylist() != examples.select(labels).to_pylist()


def test_features_are_what_the_stream_would_have_published(
    examples: pa.Table, scoring: Scoring
) -> None:
    histories = generate_histories(150, seed=4)
    addresses = [f"0x{number:040x}" for number in range(150)]
    moment = MOMENTS[1]
    values = []
    for message in messages_of(histories, addresses):
        known = message["data"][0]["transactions"]
        message["data"][0]["transactions"] = [t for t in known if t["timestamp"] <= moment]
        values.append(json.dumps(message).encode())
    published = score_messages(values, np.full(150, moment), (scoring,)).scores.sort_by(
        "wallet_key"
    )
    seen = build_model_input(published)
    found = examples.filter(pc.equal(examples["as_of"], moment)).sort_by("wallet_key")
    assert found["wallet_key"].equals(published["wallet_key"])
    assert found.select(MODEL_COLUMNS).equals(seen)


@pytest.mark.parametrize("name", ["wallet_anomaly", "wallet_retention"])
def test_the_models_that_ship_see_only_what_the_stream_has(name: str) -> None:
    use_case = load_use_case(PROJECT_ROOT / "conf" / "models" / f"{name}.yaml")
    assert use_case.columns.keys() <= set(MODEL_COLUMNS)
    assert {*use_case.carried, use_case.target.column} <= set(EXAMPLES.names)


def test_labels_are_what_became_of_the_wallet(rows: list[Row], examples: pa.Table) -> None:
    assert examples.schema == EXAMPLES
    for row in examples.to_pylist():
        own = [r for r in rows if r["wallet_key"] == row["wallet_key"]]
        times = [r["timestamp"] - row["as_of"] for r in own]
        assert row["active_before"] == any(-MONTH < t <= 0 for t in times)
        assert row["active_later"] == any(0 < t <= MONTH for t in times)
        for name, limit in (("holds_liquidity", 0), ("holds_later", MONTH)):
            usd = {"deposit": 0.0, "withdraw": 0.0, "swap": 0.0}
            for r, t in zip(own, times, strict=True):
                usd[r["action"]] += (r["leg0_usd"] + r["leg1_usd"]) * (t <= limit)
            assert row[name] == (usd["deposit"] > 0 and usd["withdraw"] < 0.95 * usd["deposit"])
        keeps = row["holds_later"] or not row["holds_liquidity"]
        assert row["retained"] == (row["active_later"] and keeps)
        assert row["behaviour"] == own[0]["behaviour"]


def test_without_a_horizon_there_are_no_labels(rows: list[Row], scoring: Scoring) -> None:
    found = build_examples(history_of(rows), Cutoffs([UNTIL], None), scoring)
    assert found.num_rows == 150
    assert found["retained"].null_count == 150
    assert found["holds_liquidity"].null_count == 0
    early = Cutoffs([UNTIL - 400 * DAY], MONTH)
    assert build_examples(history_of(rows), early, scoring).num_rows == 0


def test_a_wallet_that_the_core_rejects_at_a_moment_gives_no_example_there(
    scoring: Scoring,
) -> None:
    fine, huge = (
        {
            "wallet_key": name,
            "wallet_address": name,
            "document_id": f"{name}:{place}",
            "action": "swap",
            "timestamp": MOMENTS[0] - DAY + place,
            "pool_id": "p",
            **dict.fromkeys(("leg0_symbol", "leg1_symbol"), "A"),
            "leg0_usd": usd,
            "leg1_usd": usd,
            "as_of": UNTIL,
            "source_topic": "in",
            "source_partition": 0,
            "source_offset": place,
            "source_timestamp": None,
        }
        for place, (name, usd) in enumerate((("fine", 1.0), ("huge", 1.7e308)))
    )
    rows = [fine, huge, huge | {"document_id": "again", "timestamp": MOMENTS[1] + DAY}]
    found = build_examples(history_of(rows), CUTOFFS, scoring).select(["wallet_key", "as_of"])
    times = {"fine": MOMENTS, "huge": MOMENTS[:1]}
    expected = [{"wallet_key": k, "as_of": t} for k, moments in times.items() for t in moments]
    assert found.to_pylist() == expected
