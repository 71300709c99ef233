"""Maintenance jobs: compaction, `forget`, and the replay of rejects."""
