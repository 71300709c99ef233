"""Records that no Python client would send: header names of any bytes, by librdkafka itself."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import byref, c_char_p, c_int, c_int32, c_int64, c_size_t, c_ssize_t, c_void_p
from pathlib import Path
from typing import Final, NamedTuple

import confluent_kafka

_PRODUCER: Final = 0
_COPY: Final = 2
_FLUSH_MS: Final = 30_000
# Kinds of arguments of `rd_kafka_produceva`.
_TOPIC, _PARTITION, _VALUE, _KEY, _FLAGS, _TIMESTAMP, _HEADERS = 1, 3, 4, 5, 7, 8, 10


class RawRecord(NamedTuple):
    """A record as the protocol allows it; the timestamp 0 is the time of sending."""

    key: bytes | None
    value: bytes | None
    timestamp: int = 0
    headers: tuple[tuple[bytes, bytes | None], ...] = ()
    partition: int = 0


class _Memory(ctypes.Structure):
    _fields_ = (("pointer", c_char_p), ("size", c_size_t))


class _Content(ctypes.Union):
    _fields_ = (
        ("text", c_char_p),
        ("number", c_int32),
        ("long", c_int64),
        ("handle", c_void_p),
        ("memory", _Memory),
        ("_room", ctypes.c_char * 64),
    )


class _Argument(ctypes.Structure):
    _fields_ = (("kind", c_int), ("content", _Content))


def produce_raw(servers: str, topic: str, records: Sequence[RawRecord]) -> None:
    """Send records one after the other, and wait until all have arrived."""
    library = _library()
    with _producer(library, servers) as producer:
        for record in records:
            error = library.rd_kafka_produceva(producer, *_arguments(library, topic, record))
            assert error is None, ctypes.string_at(library.rd_kafka_error_string(error))
            library.rd_kafka_poll(producer, 0)
        left = library.rd_kafka_flush(producer, _FLUSH_MS)
        assert left == 0, f"{left} records did not arrive"


def _library() -> ctypes.CDLL:
    """The library that the client brings along."""
    folder = Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs"
    library = ctypes.CDLL(str(next(folder.glob("librdkafka*"))))
    for name in ("conf_new", "new", "headers_new", "produceva", "error_string"):
        getattr(library, f"rd_kafka_{name}").restype = c_void_p
    library.rd_kafka_headers_new.argtypes = [c_size_t]
    library.rd_kafka_header_add.argtypes = [c_void_p, c_char_p, c_ssize_t, c_char_p, c_ssize_t]
    library.rd_kafka_produceva.argtypes = [c_void_p, c_void_p, c_size_t]
    for name in ("flush", "poll"):
        getattr(library, f"rd_kafka_{name}").argtypes = [c_void_p, c_int]
    library.rd_kafka_destroy.argtypes = [c_void_p]
    library.rd_kafka_error_string.argtypes = [c_void_p]
    return library


@contextmanager
def _producer(library: ctypes.CDLL, servers: str) -> Iterator[c_void_p]:
    error = ctypes.create_string_buffer(512)
    options = c_void_p(library.rd_kafka_conf_new())
    for name, value in (("bootstrap.servers", servers), ("message.max.bytes", str(64 << 20))):
        refused = library.rd_kafka_conf_set(
            options, name.encode(), value.encode(), error, c_size_t(len(error))
        )
        assert refused == 0, error.value
    producer = c_void_p(library.rd_kafka_new(_PRODUCER, options, error, c_size_t(len(error))))
    assert producer, error.value
    try:
        yield producer
    finally:
        library.rd_kafka_destroy(producer)


def _arguments(
    library: ctypes.CDLL, topic: str, record: RawRecord
) -> tuple[ctypes._CArgObject, int]:
    headers = library.rd_kafka_headers_new(len(record.headers))
    for name, value in record.headers:
        library.rd_kafka_header_add(headers, name, len(name), value, len(value or b""))
    values = (
        (_TOPIC, _Content(text=topic.encode())),
        (_PARTITION, _Content(number=record.partition)),
        (_VALUE, _memory(record.value)),
        (_KEY, _memory(record.key)),
        (_FLAGS, _Content(number=_COPY)),
        (_TIMESTAMP, _Content(long=record.timestamp)),
        (_HEADERS, _Content(handle=headers)),
    )
    arguments = (_Argument * len(values))(*(_Argument(*each) for each in values))
    return byref(arguments), len(values)


def _memory(content: bytes | None) -> _Content:
    return _Content(memory=_Memory(content, len(content or b"")))
