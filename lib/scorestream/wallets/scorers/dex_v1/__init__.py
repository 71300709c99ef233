"""`dex-v1`, the reference model: configuration, features, scores. Formulas: docs/scoring.md."""

from scorestream.wallets.scorers.dex_v1.scorer import DexV1

SCORER = DexV1
