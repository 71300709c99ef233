#!/usr/bin/env bash
# Runs one daemon of a standalone cluster in the foreground: spark-node master, or spark-node worker MASTER_URL.
# pip's pyspark has the classes, but not the start scripts of a Spark distribution.
set -euo pipefail

SPARK_HOME=$(echo /opt/scorestream/.venv/lib/python3*/site-packages/pyspark)
export SPARK_HOME SPARK_SCALA_VERSION=2.13
export SPARK_NO_DAEMONIZE=1
host=$(hostname -i | cut -d ' ' -f 1)

case ${1:-} in
  master)
    # Listens on all addresses of the container under the name by which workers and drivers call it.
    exec "$SPARK_HOME/bin/spark-class" org.apache.spark.deploy.master.Master \
      --host "${SPARK_MASTER_HOST:-$(hostname)}" --port 7077 --webui-port 8080
    ;;
  worker)
    exec "$SPARK_HOME/bin/spark-class" org.apache.spark.deploy.worker.Worker \
      --host "$host" --port 7078 --webui-port 8081 --work-dir /data/spark-work \
      "${2:?spark-node worker MASTER_URL}"
    ;;
  *)
    echo "usage: spark-node master | worker MASTER_URL" >&2
    exit 2
    ;;
esac
