"""The tables kept well: compacted, what is to be forgotten removed, rejects given back."""
