"""The range of times that tables and their readers can hold, in unix seconds."""

from __future__ import annotations

from typing import Final

# Year 1: the earliest moment that Spark's and Python's timestamps can hold.
MIN_SECONDS: Final = -62_135_596_800
# The last second that is believed (year 5138): what is beyond is milliseconds.
MAX_SECONDS: Final = 10**11
# The earliest moment that a record may be about: producers that set no time send 0 or -1.
FIRST_MOMENT: Final = 1
