"""`dex-v1`, the reference model: configuration, features, scores. Formulas: docs/scoring.md."""
