"""Builds the Spark session of a job."""

from __future__ import annotations

import logging

from pyspark.sql import SparkSession

from scorestream.settings import Settings


def build_session(job: str, settings: Settings) -> SparkSession:
    """The session of a job started by spark-submit, which brought master, jars and settings."""
    # PySpark would log what its exceptions say already, plans and stack traces included.
    logging.getLogger("SQLQueryContextLogger").disabled = True
    spark = (
        SparkSession.builder.appName(f"scorestream-{job}")
        .config("spark.sql.warehouse.dir", settings.warehouse)
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("WARN" if settings.log_level == "INFO" else settings.log_level)
    return spark
