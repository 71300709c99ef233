"""Candidates that compete: learned, cross-validated, searched, beside baselines."""
