"""Registered models that judge every wallet that is scored: which, in what version, with what."""
