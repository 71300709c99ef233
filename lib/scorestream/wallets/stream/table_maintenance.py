"""The tables that a stream writes to are kept tidy while it runs, in a thread of its own."""

from __future__ import annotations

import threading
from typing import Final, Self

import structlog
from deltalake.exceptions import DeltaError as DeltaRsError

from scorestream.infra.delta.auto_maintenance import SMALL_FILES, maintain_table, shorten_log
from scorestream.infra.delta.table import Table
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.error_text import error_summary
from scorestream.infra.errors import DeltaError, ScorestreamError
from scorestream.wallets.maintenance.coverage_cleanup import drop_superseded
from scorestream.wallets.schema.tables import BATCH_TABLES, COVERAGE
from scorestream.wallets.schema.views import CATALOG

log = structlog.get_logger()

SECONDS: Final = 30.0
MAX_SECONDS_WAITED: Final = 10.0


class Tidying:
    """Looks after the tables now and then; what goes wrong there is no failure of the stream."""

    def __init__(self, root: str, seconds: float = SECONDS) -> None:
        # Of its own: open logs are not for two threads.
        self._warehouse = Warehouse(root, CATALOG)
        self._seconds = seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tidying", daemon=True)

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
            for table in (*BATCH_TABLES, COVERAGE):
                try:
                    self._tidy(table)
                except (ScorestreamError, DeltaRsError, OSError) as error:
                    if not self._ended.is_set():
                        log.warning("not_tidied", table=table.name, reason=error_summary(error))

    def _tidy(self, table: Table) -> None:
        if table != COVERAGE:
            maintain_table(self._warehouse, table, self._refuse_at_the_end)
            return
        shorten_log(self._warehouse, table)
        if self._warehouse.file_count(table) >= SMALL_FILES:
            drop_superseded(self._warehouse)

    def _refuse_at_the_end(self) -> None:
        if self._ended.is_set():
            raise DeltaError("the stream ends: files are joined by the next one")
