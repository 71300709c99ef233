"""Messages made to exhaust memory, decoded in a process that may not have much.

python tools/testkit/bombs.py 50 prints what became of each, of 50 MB, as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

MEGABYTE: Final = 1024 * 1024
# Of each, in MB; who imports this only reads what becomes of them.
SIZE: Final = int(sys.argv[1]) if __name__ == "__main__" else 0
# What the process may take for a message, beyond what it has at its start; and of any size.
MAX_BYTES: Final = 14 * SIZE * MEGABYTE
ALWAYS_BYTES: Final = 68 * MEGABYTE
INVALID: Final = "invalid_type"
ROW: Final = b'{"document_id":"1","action":"x","timestamp":1}'


def _message(
    extra: bytes = b"0", rows: bytes = ROW, wallet: bytes = b'"w"', entries: bytes = b""
) -> bytes:
    data = entries or b'{"protocolType":"dexes","transactions":[' + rows + b"]}"
    return b'{"extra":' + extra + b',"wallet_address":' + wallet + b',"data":[' + data + b"]}"


def _many(piece: bytes) -> bytes:
    """As many MB as asked for, of a piece again and again."""
    return piece * (SIZE * MEGABYTE // len(piece))


def _list(element: bytes) -> bytes:
    return _many(element + b",") + element


def _text(piece: bytes) -> bytes:
    return b'"' + _many(piece) + b'"'


LONE: Final = rb"\ud800"
# By name, how it is made and what becomes of it.
BOMBS: Final[dict[str, tuple[Callable[[], bytes], str]]] = {
    "arrays": (lambda: _many(b"["), "too_deep"),
    "arrays, closed": (lambda: _many(b"[") + _many(b"]"), "too_deep"),
    "objects": (
        lambda: _message(_many(b'{"x":') + b"0" + b"}" * (SIZE * MEGABYTE // 5)),
        "too_deep",
    ),
    "zeros": (lambda: _message(b"[" + _list(b"0") + b"]"), "scored"),
    "zeros, then a fault": (lambda: _message(b"[" + _list(b"0") + b"]", wallet=b"5"), INVALID),
    "zeros, cut off": (lambda: b"[" + _list(b"0"), "invalid_json"),
    "zeros and a lone surrogate": (
        lambda: _message(b'["' + LONE + b'",' + _list(b"0") + b"]"),
        "scored",
    ),
    "zeros for transactions": (lambda: _message(rows=_list(b"0")), INVALID),
    "zeros behind a transaction": (lambda: _message(rows=ROW + b"," + _list(b"0")), INVALID),
    "zeros for entries": (lambda: _message(entries=_list(b"0")), INVALID),
    "empty objects": (lambda: _message(b"[" + _list(b"{}") + b"]", wallet=b"5"), INVALID),
    "empty objects for transactions": (lambda: _message(rows=_list(b"{}")), "missing_field"),
    "transactions of another protocol": (
        lambda: _message(entries=_list(b'{"protocolType":"x"}')),
        "no_transactions",
    ),
    "a long string": (lambda: _message(_text(b"x")), "scored"),
    "a long string of brackets": (lambda: _message(_text(b"[")), "scored"),
    "a long string of quotes": (lambda: _message(_text(rb"\"")), "scored"),
    "a long string of lone surrogates": (lambda: _message(_text(LONE)), "scored"),
    "a long string of surrogates and a lone one": (
        lambda: _message(b'["' + LONE + b'",' + _text(rb"\ud83d\ude00") + b"]"),
        "scored",
    ),
    "a long string for a wallet": (lambda: _message(wallet=_text(b"x")), "invalid_wallet_address"),
    "a long string, open": (lambda: b'"' + _many(b"x"), "invalid_json"),
    "a long number": (lambda: _message(_many(b"9")), "scored"),
    "a long number for a wallet": (lambda: _message(wallet=_many(b"9")), INVALID),
    "white space": (lambda: _many(b" "), "invalid_json"),
    "zero bytes": (lambda: _many(b"\x00"), "invalid_json"),
}


def _decode(value: bytes) -> str:
    from scorestream.wallets.core.decode import decode  # noqa: PLC0415  the limit is set behind it

    return next((reject.code for reject in decode([value]).rejects), "scored")


def main() -> None:
    """Decode all bombs under a limit of memory."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "lib"))
    _decode(_message())
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + MAX_BYTES + ALWAYS_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    print(json.dumps({name: _decode(make()) for name, (make, _) in BOMBS.items()}))


if __name__ == "__main__":
    main()
