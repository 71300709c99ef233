"""What a start reads of its checkpoint, and refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from scorestream.infra.delivery.checkpoint import Checkpoint, Progress, StreamState
from scorestream.infra.delivery.start_checks import (
    refuse_older_copies,
    refuse_other_tables,
    table_ids,
)
from scorestream.infra.delivery.stream import Stream
from scorestream.infra.delta.warehouse import Warehouse
from scorestream.infra.errors import CheckpointError
from scorestream.wallets.schema.tables import BATCH_TABLES, COVERAGE, REJECTS, SCORES
from scorestream.wallets.schema.views import CATALOG

pytestmark = pytest.mark.spark

STREAM = Stream("test", "in", BATCH_TABLES, COVERAGE)
STATE = StreamState(topic="in", topic_id="id")
CUT_OFF = "is damaged or lacks"


@pytest.fixture(scope="module")
def spark_made(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of three batches, all files of it Spark's own."""
    folder = tmp_path_factory.mktemp("made")
    source = folder / "source"
    source.mkdir()
    for number in range(3):
        (source / f"{number}.txt").write_text(str(number), encoding="ascii")
    lines = spark.readStream.option("maxFilesPerTrigger", 1).text(str(source))
    writer = lines.writeStream.foreachBatch(lambda _, __: None).trigger(availableNow=True)
    checkpoint = folder / "checkpoint"
    writer.option("checkpointLocation", str(checkpoint)).start().awaitTermination()
    return checkpoint


@pytest.fixture
def folder(spark_made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(spark_made, tmp_path / "checkpoint"))


@pytest.fixture
def checkpoint(spark: SparkSession, folder: Path) -> Checkpoint:
    made = Checkpoint(spark, str(folder))
    made.write_state(STATE)
    return made


def test_progress_is_what_was_planned_and_what_is_done(
    checkpoint: Checkpoint, folder: Path
) -> None:
    progress = checkpoint.progress()
    assert progress is not None
    assert (progress.planned, progress.done) == (2, 2)
    assert progress.run_id in (folder / "metadata").read_text(encoding="ascii")
    (folder / "commits" / "2").unlink()
    assert checkpoint.progress() == Progress(progress.run_id, 2, 1)


def test_a_checkpoint_without_a_query_has_no_progress(spark: SparkSession, tmp_path: Path) -> None:
    assert Checkpoint(spark, str(tmp_path / "none")).progress() is None


@pytest.mark.parametrize("keeps_checksum", [True, False])
@pytest.mark.parametrize(
    "content", [None, b"", bytes(80), b"v1\n", b'v1\n{"cut', b"v1\n[1]\n[2]", b"\xff\xfe"]
)
@pytest.mark.parametrize("name", ["offsets/2", "offsets/1", "commits/2", "metadata"])
def test_a_damaged_file_is_named(
    name: str, content: bytes | None, *, keeps_checksum: bool, checkpoint: Checkpoint, folder: Path
) -> None:
    path = folder / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    if not keeps_checksum:
        path.with_name(f".{path.name}.crc").unlink()
    if name == "commits/2" and content is None:
        assert checkpoint.progress()
        return
    with pytest.raises(CheckpointError, match=CUT_OFF) as error:
        checkpoint.progress()
    assert str(path) in str(error.value)


def test_a_commit_without_its_plan_is_refused(checkpoint: Checkpoint, folder: Path) -> None:
    (folder / "offsets" / "2").unlink()
    with pytest.raises(CheckpointError, match="offsets/2 is damaged or lacks"):
        checkpoint.progress()


@pytest.mark.parametrize("content", ["", '{"topic": "in', "\0\0"])
def test_a_damaged_state_is_named_once_batches_are_planned(
    content: str, checkpoint: Checkpoint, folder: Path
) -> None:
    (folder / "scorestream.json").write_text(content, encoding="ascii")
    with pytest.raises(CheckpointError, match=r"scorestream\.json is damaged"):
        checkpoint.read_state()


def test_a_state_that_was_cut_off_before_the_first_batch_is_made_anew(
    spark: SparkSession, tmp_path: Path
) -> None:
    (tmp_path / "scorestream.json").write_text("", encoding="ascii")
    assert Checkpoint(spark, str(tmp_path)).read_state() is None


def test_a_state_of_an_earlier_version_is_read(checkpoint: Checkpoint, folder: Path) -> None:
    text = '{"topic": "in", "topic_id": "id", "start": {"0": 1}, "held": {"0": 2}}'
    (folder / "scorestream.json").write_text(text, encoding="ascii")
    (folder / ".scorestream.json.crc").unlink()
    state = checkpoint.read_state()
    assert state is not None
    assert (state.start, state.held, state.tables) == ({0: 1}, {0: 2}, {})


def test_another_warehouse_is_refused_and_a_moved_one_is_not(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    state = STATE.model_copy(update={"tables": table_ids(warehouse, STREAM)})
    moved = Warehouse(str(shutil.copytree(warehouse.root, tmp_path / "moved")), CATALOG)
    refuse_other_tables(state, moved, STREAM)
    refuse_other_tables(STATE, moved, STREAM)
    other = Warehouse(str(tmp_path / "other"), CATALOG)
    other.create_tables()
    with pytest.raises(CheckpointError, match=r"scores, rejects, transactions in .* another table"):
        refuse_other_tables(state, other, STREAM)


def test_older_copies_are_refused_on_either_side(
    warehouse: Warehouse, checkpoint: Checkpoint
) -> None:
    state = STATE.model_copy(update={"tables": table_ids(warehouse, STREAM)})
    run_id = (checkpoint.progress() or Progress("", 0, 0)).run_id
    with pytest.raises(CheckpointError, match="the warehouse is an older copy"):
        refuse_older_copies(state, checkpoint, warehouse, STREAM)
    # Earlier versions did not note every batch.
    refuse_older_copies(STATE, checkpoint, warehouse, STREAM)
    warehouse.mark(SCORES, (f"{run_id}/scores", 1))
    with pytest.raises(CheckpointError, match="the warehouse is an older copy"):
        refuse_older_copies(state, checkpoint, warehouse, STREAM)
    # A batch of rejects alone.
    warehouse.mark(REJECTS, (f"{run_id}/rejects", 2))
    refuse_older_copies(state, checkpoint, warehouse, STREAM)
    warehouse.mark(SCORES, (f"{run_id}/scores", 3))
    for each in (state, STATE):
        with pytest.raises(CheckpointError, match="the checkpoint is an older copy"):
            refuse_older_copies(each, checkpoint, warehouse, STREAM)
