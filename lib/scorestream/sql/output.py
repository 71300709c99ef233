"""How results of statements are shown."""

from __future__ import annotations

from typing import Final, Literal

Format = Literal["table", "json", "csv"]
# A table on a terminal is cut off after so many rows.
TABLE_ROWS: Final = 1000
