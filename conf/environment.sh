# Finds Python and Java; sourced by the Makefile's recipes and by spark-submit.sh.
# Each function says in one line on standard error what is missing, and returns 1.

# Sets PYTHON: the given one, else the first that will do.
require_python() {
    if [ -n "${PYTHON:-}" ]; then
        _python_suits "$PYTHON" && return 0
    else
        for PYTHON in python3 python3.11 python3.12 python3.13; do
            _python_suits "$PYTHON" && return 0
        done
        PYTHON=python3
    fi
    echo "error: needs Python 3.11 or newer with venv; $PYTHON is $(_python_found "$PYTHON")." \
        "Install one (Debian: python3 python3-venv), or set PYTHON to it." >&2
    return 1
}

_python_suits() {
    # ensurepip is what Debian leaves out of python3 and without which venv fails.
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

_python_found() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2], end="")
try: import venv, ensurepip
except ImportError: print(" without venv", end="")' 2>/dev/null || printf 'not there'
}

# Sets JAVA: of JAVA_HOME, else of the PATH, as Spark does.
require_java() {
    if [ -n "${JAVA_HOME:-}" ]; then JAVA=$JAVA_HOME/bin/java; else JAVA=java; fi
    # Java 8 calls itself 1.8.
    _java_found=$("$JAVA" -version 2>&1 |
        sed -n 's/.* version "\(1\.\)\{0,1\}\([0-9]*\).*/\2/p' || true)
    if [ "${_java_found:-0}" -ge 17 ]; then return 0; fi
    echo "error: needs Java 17 or newer; $JAVA is ${_java_found:-not there}." \
        "Install one (Debian: openjdk-17-jre-headless), or set JAVA_HOME to it." >&2
    return 1
}
