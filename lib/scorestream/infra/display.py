r"""Shows values as plain text: never as markup, with hidden characters made visible.

A value may hold anything. On terminals, in log lines, in pages and in pictures, what cannot be
seen (control characters, escape sequences, line breaks, marks that turn the direction of writing)
stands as Python writes it: `\x1b`, `\n`, `\u202e`. What programs read (JSON, CSV) is not changed.
"""

from __future__ import annotations

import html
import re
from typing import Final

from rich.table import Column
from rich.text import Text

# What a spreadsheet takes for a formula if it is at the start of a cell.
_FORMULA: Final = re.compile(r"[=+\-@\t\r]")
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
# An underscore within a word means nothing in Markdown.
_MARKDOWN: Final = re.compile(r"[\\`*\[\]<|~#&$]|(?<![^\W_])_|_(?![^\W_])")


def visible(text: str) -> str:
    """A text in one line with all that it holds to be seen."""
    return text if text.isprintable() else "".join(map(_make_visible, text))


def visible_lines(text: str) -> str:
    """The same for a text of ours that may have several lines."""
    return "\n".join(visible(line) for line in text.split("\n"))


def cell(text: str) -> Text:
    """What rich prints as it is."""
    return Text(visible(text))


def heading(text: str) -> Column:
    """A column of a table of rich, its heading printed as it is."""
    return Column(header=cell(text))


def html_text(text: str) -> str:
    """What a page (HTML, SVG) shows as it is."""
    return html.escape(visible(text))


def markdown_text(text: str) -> str:
    """What a Markdown page, or a cell of its tables, shows as it is."""
    return _MARKDOWN.sub(r"\\\g<0>", visible(text))


def spreadsheet_text(text: str) -> str:
    """What a spreadsheet shows as text: a formula has `'` before it, a number is one."""
    formula = _FORMULA.match(text) and not _NUMBER.fullmatch(text)
    return f"'{text}" if formula else text


def _make_visible(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape", "surrogatepass").decode()
