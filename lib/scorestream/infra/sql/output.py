"""How results of statements are shown."""

from __future__ import annotations

from typing import Final, Literal

# json and csv give every value to the byte; sheet is CSV that a spreadsheet runs no formula of.
Format = Literal["table", "json", "csv", "sheet"]
# A table on a terminal is cut off after so many rows.
TABLE_ROWS: Final = 1000
