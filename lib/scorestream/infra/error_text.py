"""One-line summaries of the errors of libraries."""

from __future__ import annotations

import re
from typing import Final

# delta-rs draws the chain of causes in colours, each in a line of its own; the last says most.
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
_ARROW: Final = "\u21b3"
_MESSAGE: Final = re.compile(r"<Code>(.*?)</Code>.*?<Message>(.*?)</Message>", re.DOTALL)


def error_summary(error: BaseException) -> str:
    """Summarize an error and its causes in one line; of an XML answer its code and message."""
    text = _COLOURS.sub("", str(error))
    answer = _MESSAGE.search(text)
    head = text.partition("<?xml")[0] if answer else text
    lines = [line.strip().removeprefix(_ARROW).strip() for line in head.splitlines()]
    if answer:
        lines.append(f"{answer[1]}: {answer[2]}")
    return ": ".join(line.rstrip(":") for line in lines if line)
