#!/usr/bin/env bash
# Runs jobs/JOB.py through spark-submit. TERM and INT reach the job, which finishes what it is at.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
  cat <<EOF
Usage: ./spark-submit.sh [--supervise] JOB [options]      (JOB --help shows the options of a job)

--supervise is for stream_scores, which goes on where it ended: it starts the stream again that was killed
or failed with exit code 1, and gives up when it fails again and again.

Jobs:
$(for job in "$root"/jobs/*.py; do printf '  %-18s %s\n' "$(basename "$job" .py)" "$(sed -n '1s/"""\(.*\)\("""\)\{0,1\}$/\1/p' "$job" | tr -d '"')"; done)

Environment:
  SPARK_MASTER       where to run (default local[*,4]: all cores, 4 attempts a task); any cluster URL
  SPARK_SUBMIT_ARGS  further arguments of spark-submit, for instance "--driver-memory 4g"
  SUPERVISE_ATTEMPTS starts in a row that end without a batch before --supervise gives up (default 10)
  SUPERVISE_PAUSE    longest pause between two of them in seconds (default 60); it doubles from 1
  KAFKA_..., SCORESTREAM_..., METRICS_PORT, ...: see the README's table
EOF
}

supervise=
if [[ ${1:-} == --supervise ]]; then
  supervise=yes
  shift
fi
case ${1:-} in
  "" | -h | --help | help) usage; exit 0 ;;
esac
job=$1
shift
if [[ ! -f $root/jobs/$job.py ]]; then
  echo "no job $job; ./spark-submit.sh --help lists them" >&2
  exit 2
fi
attempts=${SUPERVISE_ATTEMPTS:-10}
longest_pause=${SUPERVISE_PAUSE:-60}
if [[ $supervise ]]; then
  if [[ $job != stream_scores ]]; then
    echo "--supervise is for stream_scores; $job does not go on where it ended" >&2
    exit 2
  fi
  if [[ ! $attempts =~ ^[1-9][0-9]{0,5}$ || ! $longest_pause =~ ^[1-9][0-9]{0,5}$ ]]; then
    echo "SUPERVISE_ATTEMPTS and SUPERVISE_PAUSE: must be whole numbers from 1 (are '$attempts', '$longest_pause')" >&2
    exit 2
  fi
fi

java_options=
# shellcheck source=conf/environment.sh
source "$root/conf/environment.sh"
require_java
if [[ -f $root/scorestream-lib.zip ]]; then
  # A package (`make package`): library and Python environment are shipped to the executors, Spark is the cluster's.
  if [[ ! -x ${SPARK_HOME:-}/bin/spark-submit ]]; then
    echo "set SPARK_HOME to the cluster's Spark 4.2 (it has no bin/spark-submit now)" >&2
    exit 1
  fi
  python=$root/environment/bin/python
  if [[ ! -x $python ]]; then
    unpacked=$(mktemp -d "$root/environment.XXXXXX")
    tar -xzf "$root/environment.tar.gz" -C "$unpacked"
    mv -T "$unpacked" "$root/environment"
  fi
  library=$root/scorestream-lib.zip
  shipped=(--py-files "$library" --archives "$root/environment.tar.gz#environment")
  jars=$(printf '%s,' "$root"/jars/*.jar)
  s3_jars=$(printf '%s,' "$root"/jars/s3/*.jar)
  export SCORESTREAM_CONF=${SCORESTREAM_CONF:-$root/conf}
  if [[ ${SPARK_MASTER:-local} != local* ]]; then export PYSPARK_PYTHON=${PYSPARK_PYTHON:-./environment/bin/python}; fi
else
  python=$root/.venv/bin/python
  if [[ ! -x $python || ! -d $root/.jars/spark ]]; then
    echo "not set up yet: run \`make setup\`" >&2
    exit 1
  fi
  SPARK_HOME=$("$python" -c 'import importlib.util as u; print(u.find_spec("pyspark").submodule_search_locations[0])')
  library=$root/lib
  shipped=()
  jars=$(printf '%s,' "$root"/.jars/spark/*.jar)
  s3_jars=$(printf '%s,' "$root"/.jars/s3/*.jar)
  # Spark's classes as the JVM has them in memory (`make setup`); one that does not fit is not used.
  if [[ -f $root/.jars/spark.jsa ]]; then java_options="-XX:SharedArchiveFile=$root/.jars/spark.jsa -Xlog:cds*=off"; fi
fi
# They would make every other start slower.
if [[ " ${SCORESTREAM_WAREHOUSE:-} $*" =~ [\ =]s3[an]?:// ]]; then jars+=$s3_jars; fi
export SPARK_HOME
export PYSPARK_PYTHON=${PYSPARK_PYTHON:-$python}
export PYSPARK_DRIVER_PYTHON=$python
export PYTHONPATH=$library${PYTHONPATH:+:$PYTHONPATH}

# Without an address, a driver on this machine binds to whatever its host name resolves to.
if [[ ${SPARK_MASTER:-local} == local* ]]; then export SPARK_LOCAL_IP=${SPARK_LOCAL_IP:-127.0.0.1}; fi

# Through this folder the job tells its process id and its progress, learns of a stop that came
# before it could hear of it, and reaches this script's stdout and stderr: spark-submit would merge
# the two, and lose the end of them where the job ends before all is copied.
_SCORESTREAM_CONTROL=$(mktemp -d)
export _SCORESTREAM_CONTROL
trap 'rm -rf "$_SCORESTREAM_CONTROL"' EXIT

# What copies the job's output ends after the job, whatever signals come.
trap '' TERM INT

copiers=()
channel() { # NAME FD
  local path=$_SCORESTREAM_CONTROL/$1
  if [[ -t $2 ]] && ln -s "$(tty <&"$2")" "$path" 2>/dev/null; then return; fi
  mkfifo "$path"
}
channel stdout 1
channel stderr 2
# Held open for writing until the job has ended, so that `cat` neither blocks nor ends before.
if [[ -p $_SCORESTREAM_CONTROL/stdout ]]; then
  exec 8<>"$_SCORESTREAM_CONTROL/stdout"
  cat 8>&- <"$_SCORESTREAM_CONTROL/stdout" &
  copiers+=($!)
fi
if [[ -p $_SCORESTREAM_CONTROL/stderr ]]; then
  exec 9<>"$_SCORESTREAM_CONTROL/stderr"
  cat 8>&- 9>&- <"$_SCORESTREAM_CONTROL/stderr" >&2 &
  copiers+=($!)
fi

if [[ -t 2 ]]; then log_configuration=log4j2.properties; else log_configuration=log4j2-json.properties; fi

driver_runs() {
  [[ -s $_SCORESTREAM_CONTROL/driver.pid ]] && kill "-$1" "$(<"$_SCORESTREAM_CONTROL/driver.pid")" 2>/dev/null
}

interrupted=
forward() {
  interrupted=yes
  touch "$_SCORESTREAM_CONTROL/stop"
  driver_runs TERM || true
}
trap forward TERM INT

# Waits for a process, whatever signals come meanwhile, and puts its exit code into `code`.
# A trapped signal ends `wait` early; 127 means that an earlier `wait` had the exit code already.
await() {
  local status
  while :; do
    interrupted=
    status=0
    wait "$1" || status=$?
    [[ $status == 127 ]] || code=$status
    [[ $interrupted ]] || break
  done
}

run_once() {
  rm -f "$_SCORESTREAM_CONTROL/driver.pid" "$_SCORESTREAM_CONTROL/progress"
  (
    # The JVM inherits that both signals are ignored; the job's Python sets its own handlers.
    trap '' TERM INT
    # It runs statements of whoever asks, and needs none of these: they are not even there to be shown.
    if [[ $job == query ]]; then unset "${!KAFKA_@}" "${!MONGODB_@}" "${!MLFLOW_@}"; fi
    exec "$SPARK_HOME/bin/spark-submit" \
      --master "${SPARK_MASTER:-local[*,4]}" \
      --properties-file "$root/conf/spark-defaults.conf" \
      --conf "spark.driver.defaultJavaOptions=-Dlog4j2.configurationFile=$root/conf/$log_configuration $java_options" \
      --jars "${jars%,}" \
      ${shipped[@]+"${shipped[@]}"} \
      ${SPARK_SUBMIT_ARGS:-} \
      "$root/jobs/$job.py" "$@" 8>&- 9>&-
  ) &
  await $!
  # A driver whose JVM was killed must not hold the checkpoint, or write, beside its successor.
  for _ in {1..50}; do
    driver_runs 0 || break
    sleep 0.1
  done
  driver_runs KILL || true
  while driver_runs 0; do sleep 0.1; done
  # From now on its number may be another's.
  rm -f "$_SCORESTREAM_CONTROL/driver.pid"
}

# Exit codes 2 and 3 say that no restart helps; a batch that was committed forgives all failures.
failures=0
pause=1
supervised_again() {
  [[ $supervise && ! $code =~ ^[023]$ && ! -e $_SCORESTREAM_CONTROL/stop ]] || return 1
  failures=$((failures + 1))
  if [[ -e $_SCORESTREAM_CONTROL/progress ]]; then
    failures=0
    pause=1
  fi
  if ((failures >= attempts)); then
    echo "supervisor: $job ended $failures times in a row without a batch (exit code $code): gave up" >&2
    return 1
  fi
  echo "supervisor: $job ended with exit code $code; starts again in $pause s" >&2
  sleep "$pause" 8>&- 9>&- &
  local sleeping=$!
  wait "$sleeping" || kill "$sleeping" 2>/dev/null || true
  pause=$((pause * 2 < longest_pause ? pause * 2 : longest_pause))
  [[ ! -e $_SCORESTREAM_CONTROL/stop ]]
}

code=0
run_once "$@"
while supervised_again; do run_once "$@"; done
exec 8>&- 9>&-
for copier in "${copiers[@]+"${copiers[@]}"}"; do wait "$copier" || true; done
exit "$code"
