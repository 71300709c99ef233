#!/usr/bin/env bash
# Runs jobs/JOB.py through spark-submit. TERM and INT reach the job, which finishes what it is at.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
  cat <<EOF
Usage: ./spark-submit.sh JOB [options]      (JOB --help shows the options of a job)

Jobs:
$(for job in "$root"/jobs/*.py; do printf '  %-16s %s\n' "$(basename "$job" .py)" "$(sed -n '1s/"""\(.*\)\("""\)\{0,1\}$/\1/p' "$job" | tr -d '"')"; done)

Environment:
  SPARK_MASTER       where to run (default local[*]); any cluster URL
  SPARK_SUBMIT_ARGS  further arguments of spark-submit, for instance "--driver-memory 4g"
  KAFKA_..., SCORESTREAM_..., METRICS_PORT, ...: see the README's table
EOF
}

case ${1:-} in
  "" | -h | --help | help) usage; exit 0 ;;
esac
job=$1
shift
if [[ ! -f $root/jobs/$job.py ]]; then
  echo "no job $job; ./spark-submit.sh --help lists them" >&2
  exit 2
fi

# shellcheck source=conf/environment.sh
source "$root/conf/environment.sh"
require_java
python=$root/.venv/bin/python
if [[ ! -x $python || ! -d $root/.jars/spark ]]; then
  echo "not set up yet: run \`make setup\`" >&2
  exit 1
fi

SPARK_HOME=$("$python" -c 'import importlib.util as u; print(u.find_spec("pyspark").submodule_search_locations[0])')
export SPARK_HOME
export PYSPARK_PYTHON=${PYSPARK_PYTHON:-$python}
export PYSPARK_DRIVER_PYTHON=$python
export PYTHONPATH=$root/lib${PYTHONPATH:+:$PYTHONPATH}
jars=$(printf '%s,' "$root"/.jars/spark/*.jar)

# Without an address, a driver on this machine binds to whatever its host name resolves to.
if [[ ${SPARK_MASTER:-local} == local* ]]; then export SPARK_LOCAL_IP=${SPARK_LOCAL_IP:-127.0.0.1}; fi

# Through this folder the job tells its process id, and learns of a stop that came before it could.
_SCORESTREAM_CONTROL=$(mktemp -d)
export _SCORESTREAM_CONTROL
trap 'rm -rf "$_SCORESTREAM_CONTROL"' EXIT

# The JVM inherits that both signals are ignored; the job's Python sets its own handlers.
trap '' TERM INT
if [[ -t 2 ]]; then log_configuration=log4j2.properties; else log_configuration=log4j2-json.properties; fi
"$SPARK_HOME/bin/spark-submit" \
  --master "${SPARK_MASTER:-local[*]}" \
  --properties-file "$root/conf/spark-defaults.conf" \
  --driver-java-options "-Dlog4j2.configurationFile=$root/conf/$log_configuration" \
  --jars "${jars%,}" \
  ${SPARK_SUBMIT_ARGS:-} \
  "$root/jobs/$job.py" "$@" &
spark=$!

interrupted=
forward() {
  interrupted=yes
  touch "$_SCORESTREAM_CONTROL/stop"
  if [[ -s $_SCORESTREAM_CONTROL/driver.pid ]]; then
    kill -TERM "$(<"$_SCORESTREAM_CONTROL/driver.pid")" 2>/dev/null || true
  fi
}
trap forward TERM INT

# A trapped signal ends `wait` early; 127 means that an earlier `wait` had the exit code already.
code=0
while :; do
  interrupted=
  status=0
  wait "$spark" || status=$?
  [[ $status == 127 ]] || code=$status
  [[ $interrupted ]] || break
done
exit "$code"
