"""Upkeep of the tables that a stream writes to, in a thread of its own while it runs."""

from __future__ import annotations

import threading
from typing import Final, Self

import structlog
from deltalake.exceptions import DeltaError as DeltaRsError

from scorestream.infra.delivery.coverage_cleanup import drop_superseded
from scorestream.infra.delivery.stream import Stream
from scorestream.infra.delta.auto_maintenance import SMALL_FILES, maintain_table, shorten_log
from scorestream.infra.delta.table import Table
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.error_text import error_summary
from scorestream.infra.errors import DeltaError, ScorestreamError

log = structlog.get_logger()

SECONDS: Final = 30.0
MAX_SECONDS_WAITED: Final = 10.0


class TableMaintenance:
    """Looks after the tables now and then; what goes wrong there is no failure of the stream."""

    def __init__(self, warehouse: Warehouse, stream: Stream, seconds: float = SECONDS) -> None:
        # Of its own: open logs are not for two threads.
        self._warehouse = Warehouse(warehouse.root, warehouse.catalog)
        self._stream = stream
        self._seconds = seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="table maintenance", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        # An interpreter must not end beside a thread that is in Arrow or DuckDB; joining files ends
        # at once, and what else may take long is harmless.
        self._ended.set()
        self._thread.join(MAX_SECONDS_WAITED)

    def _run(self) -> None:
        while not self._ended.wait(self._seconds):
            for table in self._stream.all_tables:
                try:
                    self._maintain(table)
                except (ScorestreamError, DeltaRsError, OSError) as error:
                    if not self._ended.is_set():
                        log.warning("not_tidied", table=table.name, reason=error_summary(error))

    def _maintain(self, table: Table) -> None:
        if table != self._stream.coverage:
            maintain_table(self._warehouse, table, self._refuse_at_the_end)
            return
        shorten_log(self._warehouse, table)
        if self._warehouse.file_count(table) >= SMALL_FILES:
            drop_superseded(self._warehouse, table)

    def _refuse_at_the_end(self) -> None:
        if self._ended.is_set():
            raise DeltaError("the stream ends: files are joined by the next one")
