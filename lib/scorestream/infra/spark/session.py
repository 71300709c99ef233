"""Builds the Spark session of a job."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from pyspark import SparkConf
from pyspark.sql import SparkSession

from scorestream.infra.config.settings import Settings
from scorestream.infra.storage.filesystem import s3_settings

# Files of a checkpoint are written whole or not at all, where a store has no rename.
_S3_CHECKPOINTS: Final = (
    "org.apache.spark.internal.io.cloud.AbortableStreamBasedCheckpointFileManager"
)


def build_session(job: str, settings: Settings, checkpoint: str = "") -> SparkSession:
    """The session of a job started by spark-submit, which brought master, jars and settings.

    Args:
        job: its name.
        settings: where the warehouse is.
        checkpoint: where the stream's checkpoint is.
    """
    # PySpark would log what its exceptions say already, plans and stack traces included.
    logging.getLogger("SQLQueryContextLogger").disabled = True
    builder = SparkSession.builder.appName(f"scorestream-{job}").config(
        "spark.sql.warehouse.dir", settings.warehouse
    )
    for name, value in _s3_options(checkpoint, SparkConf()).items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("WARN" if settings.log_level == "INFO" else settings.log_level)
    return spark


def _s3_options(checkpoint: str, given: SparkConf) -> Mapping[str, str]:
    """How Spark reaches S3: as the tasks do, where nothing else was asked for."""
    s3 = s3_settings()
    options = {
        "spark.hadoop.fs.s3a.endpoint": s3.endpoint,
        "spark.hadoop.fs.s3a.endpoint.region": s3.region,
        # Stores that are not Amazon's seldom have a host name a bucket.
        "spark.hadoop.fs.s3a.path.style.access": "true" if s3.endpoint else "",
        "spark.sql.streaming.checkpointFileManagerClass": (
            _S3_CHECKPOINTS if checkpoint.startswith("s3a://") else ""
        ),
    }
    return {name: value for name, value in options.items() if value and not given.contains(name)}
