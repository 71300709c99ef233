"""The tables that a stream writes to are kept tidy while it runs, in a thread of its own."""

from __future__ import annotations

import threading
from typing import Final, Self

import structlog
from deltalake.exceptions import DeltaError as DeltaRsError

from scorestream.errors import ScorestreamError
from scorestream.io.delta.tidying import SMALL_FILES, shorten_log, tidy
from scorestream.io.delta.warehouse import Warehouse
from scorestream.tables import BATCH_TABLES, COVERAGE, Table
from scorestream.upkeep.superseded import drop_superseded

log = structlog.get_logger()

SECONDS: Final = 30.0


class Tidying:
    """Looks after the tables now and then; what goes wrong there is no failure of the stream."""

    def __init__(self, root: str, seconds: float = SECONDS) -> None:
        # Of its own: open logs are not for two threads.
        self._warehouse = Warehouse(root)
        self._seconds = seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tidying", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        # What it writes just now is known to nobody yet: there is nothing to wait for.
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(self._seconds):
            for table in (*BATCH_TABLES, COVERAGE):
                try:
                    self._tidy(table)
                except (ScorestreamError, DeltaRsError, OSError) as error:
                    log.warning(
                        "not_tidied", table=table.name, reason=str(error).partition("\n")[0]
                    )

    def _tidy(self, table: Table) -> None:
        if table != COVERAGE:
            tidy(self._warehouse, table)
            return
        shorten_log(self._warehouse, table)
        if self._warehouse.file_count(table) >= SMALL_FILES:
            drop_superseded(self._warehouse)
