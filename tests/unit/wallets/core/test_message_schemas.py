"""The published schema of input messages accepts what the decoder accepts."""

from __future__ import annotations

import json

from scorestream.wallets.core.decode import decode
from tools.local.samples import sample_records
from tools.testkit.golden import golden_wallets
from tools.testkit.message_schemas import validator


def test_golden_wallets_are_valid() -> None:
    schema = validator("wallet-transactions")
    assert [list(schema.iter_errors(g.message)) for g in golden_wallets()] == [[]] * 80


def test_samples_are_valid_where_the_decoder_accepts_them() -> None:
    schema = validator("wallet-transactions")
    values = [record.value for record in sample_records()]
    rejected = {reject.position for reject in decode(values).rejects}
    accepted = [v for i, v in enumerate(values) if i not in rejected and v is not None]
    assert len(accepted) > 1800
    assert all(schema.is_valid(json.loads(value)) for value in accepted)
