"""What libraries say of a failure, in one line."""

from __future__ import annotations

import re
from typing import Final

# delta-rs draws the chain of causes in colours, each in a line of its own; the last says most.
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
_ARROW: Final = "\u21b3"
_MESSAGE: Final = re.compile(r"<Code>(.*?)</Code>.*?<Message>(.*?)</Message>", re.DOTALL)


def reason(error: BaseException) -> str:
    """The causes of an error in one line; of a store's answer in XML its code and message."""
    text = _COLOURS.sub("", str(error))
    answer = _MESSAGE.search(text)
    head = text.partition("<?xml")[0] if answer else text
    lines = [line.strip().removeprefix(_ARROW).strip() for line in head.splitlines()]
    if answer:
        lines.append(f"{answer[1]}: {answer[2]}")
    return ": ".join(line.rstrip(":") for line in lines if line)
