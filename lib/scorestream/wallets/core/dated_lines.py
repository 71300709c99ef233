"""Lines `{as_of, message}`: messages, each with the moment that it is scored at."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from scorestream.infra.times import FIRST_MOMENT, MAX_SECONDS
from scorestream.wallets.core.decode import Reject

NO_AS_OF: Final = (
    "the line is not of the form {as_of, message}, as_of in unix seconds from "
    f"{FIRST_MOMENT} to {MAX_SECONDS}"
)


class DatedLine(msgspec.Struct):
    """A message as it was written, and the unix seconds that it is scored at."""

    as_of: Annotated[int, msgspec.Meta(ge=FIRST_MOMENT, le=MAX_SECONDS)]
    message: msgspec.Raw


_decode_line = msgspec.json.Decoder(DatedLine).decode


def parse_dated_line(line: bytes) -> DatedLine | None:
    """Parse a line; None if it is of another form."""
    try:
        return _decode_line(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def undated_reject(position: int) -> Reject:
    """The reject of a line that does not say which moment it is about."""
    return Reject(position, "missing_as_of", NO_AS_OF, None, 0)
