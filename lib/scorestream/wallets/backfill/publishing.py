"""What a backfill has committed, to Kafka, chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import SparkSession

from scorestream.infra.config.settings import Settings
from scorestream.infra.delivery.publishing import publish, stored_files, written_files
from scorestream.infra.delivery.stream import Publication
from scorestream.infra.delta.data_files import Condition, DataFile
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.storage.filesystem import read_text, write_text
from scorestream.wallets.execution.published_results import result_publications


@dataclass(frozen=True)
class Publishing:
    """Publishes the chunks of a run in their order, each at least once.

    Attributes:
        rate: most records a second.
        marker: the file that has the number of the last chunk published.
    """

    spark: SparkSession
    settings: Settings
    warehouse: Warehouse
    rate: float
    marker: str

    def publish(self, run_id: str, number: int, files: Sequence[DataFile]) -> None:
        """Publish the files of a chunk, or what an earlier start committed in their place."""
        publications = self._publications
        ours = written_files(self.warehouse, publications, files)
        held = {uri for each in publications for uri in self.warehouse.files(each.table)}
        if any(uri not in held for _, uri in ours):
            self.catch_up(run_id, number + 1)
        else:
            publish(self.spark, self.settings, ours, rate=self.rate)
            write_text(self.marker, str(number))

    def catch_up(self, run_id: str, first: int) -> None:
        """Publish what was committed of chunks before `first`, and not yet published."""
        text = read_text(self.marker)
        for number in range(0 if text is None else int(text) + 1, first):
            chunk: Condition = [[("run_id", "=", run_id), ("batch_id", "=", number)]]
            files = stored_files(self.warehouse, self._publications, chunk)
            publish(self.spark, self.settings, files, conditions=[chunk], rate=self.rate)
            write_text(self.marker, str(number))

    @property
    def _publications(self) -> tuple[Publication, ...]:
        return result_publications(self.settings)
