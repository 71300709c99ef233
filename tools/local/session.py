"""A Spark session in this process, as spark-submit.sh would make it: for tests and benchmarks."""

from __future__ import annotations

import os
import sys

from pyspark.sql import SparkSession

from scorestream.infra.config.settings import PROJECT_ROOT


def local_session(cores: int, warehouse: str) -> SparkSession:
    """A session with the checkout's jars and `conf/spark-defaults.conf`, and without a UI."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    builder = SparkSession.builder.master(f"local[{cores}]").appName("scorestream")
    for name, value in _defaults().items():
        builder = builder.config(name, value)
    jars = ",".join(str(jar) for jar in (PROJECT_ROOT / ".jars" / "spark").glob("*.jar"))
    session = (
        builder.config("spark.jars", jars)
        .config("spark.ui.enabled", "false")
        .config("spark.sql.warehouse.dir", warehouse)
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    return session


def _defaults() -> dict[str, str]:
    text = (PROJECT_ROOT / "conf" / "spark-defaults.conf").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name: value.strip() for name, value in (line.split(None, 1) for line in lines)}
