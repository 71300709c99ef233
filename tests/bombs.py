"""Messages made to exhaust memory, decoded in a process that may not have much.

python tests/bombs.py prints what became of each, as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

MEGABYTE: Final = 1024 * 1024
# What the process may take for a message of 50 MB, beyond what it has at its start.
MOST_BYTES: Final = 1536 * MEGABYTE
ROW: Final = b'{"document_id":"1","action":"x","timestamp":1}'


def _message(extra: bytes = b"0", rows: bytes = ROW, wallet: bytes = b'"w"') -> bytes:
    data = b'[{"protocolType":"dexes","transactions":[' + rows + b"]}]"
    return b'{"extra":' + extra + b',"wallet_address":' + wallet + b',"data":' + data + b"}"


def _zeros(count: int) -> bytes:
    return b"0," * (count - 1) + b"0"


BOMBS: Final[dict[str, tuple[Callable[[], bytes], str]]] = {
    "a million arrays": (lambda: b"[" * 10**6 + b"]" * 10**6, "too_deep"),
    "a million arrays, open": (lambda: b"[" * 10**6, "too_deep"),
    "a million objects": (lambda: _message(b'{"x":' * 10**6 + b"0" + b"}" * 10**6), "too_deep"),
    "zeros": (lambda: _message(b"[" + _zeros(5 * 10**6) + b"]"), "scored"),
    "zeros, then a fault": (
        lambda: _message(b"[" + _zeros(5 * 10**6) + b"]", wallet=b"5"),
        "invalid_type",
    ),
    "zeros, cut off": (lambda: b"[" + _zeros(5 * 10**6), "invalid_json"),
    "zeros for transactions": (lambda: _message(rows=_zeros(5 * 10**6)), "invalid_type"),
    "a long string": (lambda: _message(b'"' + b"x" * 50 * MEGABYTE + b'"'), "scored"),
    "a long string of brackets": (lambda: _message(b'"' + b"[" * 16 * MEGABYTE + b'"'), "scored"),
    "a long string of escapes": (lambda: _message(b'"' + b'\\"' * 8 * MEGABYTE + b'"'), "scored"),
    "a long string for a wallet": (
        lambda: _message(wallet=b'"' + b"x" * 50 * MEGABYTE + b'"'),
        "invalid_wallet_address",
    ),
    "a long string, open": (lambda: b'"' + b"x" * 16 * MEGABYTE, "invalid_json"),
    "a long number": (lambda: _message(b"9" * 16 * MEGABYTE), "scored"),
    "a long number for a wallet": (lambda: _message(wallet=b"9" * 16 * MEGABYTE), "invalid_type"),
    "empty objects": (
        lambda: _message(b"[" + b"{}," * 5 * 10**6 + b"{}]", wallet=b"5"),
        "invalid_type",
    ),
    "white space": (lambda: b" " * 16 * MEGABYTE, "invalid_json"),
    "zero bytes": (lambda: b"\x00" * 16 * MEGABYTE, "invalid_json"),
}


def _decoded(value: bytes) -> str:
    from scorestream.core.decode import decode  # noqa: PLC0415  the limit is set behind it

    return next((reject.code for reject in decode([value]).rejects), "scored")


def main() -> None:
    """Decode all bombs under a limit of memory."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "lib"))
    _decoded(_message())
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    print(json.dumps({name: _decoded(make()) for name, (make, _) in BOMBS.items()}))


if __name__ == "__main__":
    main()
