# Everything a checkout needs; `make` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup kafka kafka-stop demo sql lint docs unit check test verify system format bench chaos soak fuzz lock clean

PY := .venv/bin/python
BROKER := $(PY) -m tools.local.broker

help: ## show the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: .venv/.done .jars/.done .jars/.classes ## virtual environment, locked packages, jars

# An environment works only where it was made, and only while the Python that it links to is there.
ifneq ($(shell test -x $(PY) && cat .venv/.done 2>/dev/null),$(shell pwd -P))
.PHONY: .venv/.done
endif

# A stamp is written last, so that a set-up that was cut off is made anew.
.venv/.done: requirements.lock setup.py
	@source conf/environment.sh && require_python && require_java
	@echo "setting up .venv"
	@source conf/environment.sh && require_python && "$$PYTHON" -m venv --clear .venv
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@pwd -P >$@

.jars/.done: conf/ivy.xml | .venv/.done
	@echo "fetching jars"
	@rm -rf .jars/new && mkdir -p .jars
	@source conf/environment.sh && require_java && \
	"$$JAVA" "-Divy.default.ivy.user.dir=$$PWD/.jars/ivy" \
	  -jar .venv/lib/python*/site-packages/pyspark/jars/ivy-*.jar -warn \
	  -ivy conf/ivy.xml -cache .jars/cache -confs spark s3 broker \
	  -retrieve ".jars/new/[conf]/[artifact]-[revision].[ext]" >.jars/ivy.log 2>&1 </dev/null \
	|| { tail -n 20 .jars/ivy.log >&2; exit 1; }
	@rm -rf .jars/spark .jars/s3 .jars/broker && mv .jars/new/* .jars && rmdir .jars/new
	@touch $@

# Jobs start a third faster with this archive, and as well without: not every JVM can make one.
.jars/.classes: .jars/.done .venv/.done
	@echo "archiving Spark's classes"
	@rm -f .jars/*.jsa; folder=$$(mktemp -d); \
	SPARK_MASTER=local SCORESTREAM_WAREHOUSE=$$folder SPARK_SUBMIT_ARGS="--driver-java-options -XX:ArchiveClassesAtExit=.jars/new.jsa" \
	  ./spark-submit.sh query "SELECT 1" >.jars/classes.log 2>&1 || tail -n 5 .jars/classes.log >&2; rm -rf "$$folder"
	@if [ -f .jars/new.jsa ]; then mv .jars/new.jsa .jars/spark.jsa; fi
	@touch $@

kafka: setup ## start the local broker (127.0.0.1:9092; KAFKA_PORT=N for another port)
	@$(BROKER) start

kafka-stop: ## stop the local broker; its data stays
	@if [ -x $(PY) ]; then $(BROKER) stop; fi

demo: setup ## samples through a real broker and the real job, and what came of them
	@$(PY) -m tools.local.demo

sql: setup ## SQL over the tables, without a JVM: a shell, or Q="SELECT …" (FORMAT=table, json, csv or sheet)
	@$(PY) -m scorestream sql "$${Q:-}" --format "$${FORMAT:-table}"

lint: setup docs ## ruff, mypy --strict, the import contracts, and links of the documents
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check --quiet .
	@$(PY) -m mypy
	@.venv/bin/lint-imports --no-logo --no-cache >.venv/imports.log || { cat .venv/imports.log; exit 1; }

# With --quiet, nothing would be a warning that --strict refuses. The variable ends an advertisement of the theme's.
docs: setup ## the documentation site, in build/site; refuses broken links
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict >.venv/docs.log 2>&1 || { cat .venv/docs.log; exit 1; }

# pytest-xdist: a few processes, each with Spark and a broker of its own where its tests ask for them.
unit: setup ## the tests that need no Spark, in a minute
	@$(PY) -m pytest -n 2 --dist worksteal tests/unit

check: lint unit ## lint, types and unit tests, in less than two minutes: before every commit

# Three processes take file after file, the long ones of e2e first: tests wait about as long as they compute.
test: check ## all that proves that the product is right
	@$(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder tests/e2e tests/integration

# An area is a file of tests/verify.
AREAS := $(patsubst tests/verify/test_%.py,%,$(wildcard tests/verify/test_*.py))
ifneq ($(filter verify,$(MAKECMDGOALS)),)
ifneq ($(filter-out $(AREAS),$(AREA)),)
$(error no area $(AREA); there are: $(AREAS))
endif
endif

verify: $(if $(AREA),setup,test) ## make test, and all that takes longer (AREA=chaos: only this; without it all, an hour)
	@$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(patsubst %,tests/verify/test_%.py,$(or $(AREA),$(AREAS)))

system: ## of Debian, as root: what tests are skipped without
	@apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends docker-compose >/dev/null

format: setup ## mend what ruff can mend
	@$(PY) -m ruff check --fix --quiet .
	@$(PY) -m ruff format --quiet .

bench: setup .bench/.done ## measure everything, peers too: docs/benchmarks.md (BENCH="--quick --output DIR": minutes)
	@PYTHONPATH=lib:. .bench/venv/bin/python -m tools.benchmarks $(BENCH)

chaos: setup ## break the job in every way that we know of (CHAOS="--quick", "--only 'broker.*'")
	@PYTHONPATH=lib:. $(PY) -m tools.chaos $(CHAOS)

soak: setup ## the stream at a steady load for an hour: does anything grow? (SOAK="--minutes 10")
	@PYTHONPATH=lib:. $(PY) -m tools.chaos.soak $(SOAK)

fuzz: setup ## hostile messages through the decoder and the scorer (FUZZ="--seconds 3600")
	@PYTHONPATH=lib:. $(PY) -m tools.chaos.fuzzing $(FUZZ)

# What the peers need is in no job's environment; Quix Streams asks for older packages than ours.
.bench/.done: tools/benchmarks/requirements.lock tools/benchmarks/quix-requirements.lock
	@echo "setting up .bench"
	@for name in venv quix; do $(PY) -m venv --clear .bench/$$name; done
	@.bench/venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tools/benchmarks/requirements.lock
	@.bench/quix/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tools/benchmarks/quix-requirements.lock
	@touch $@

lock: .venv/.done ## resolve requirements.lock anew from setup.py
	@$(PY) -m pip install --quiet uv
	@$(PY) -m uv pip compile setup.py --extra all --extra dev --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --quiet -o requirements.lock
	@$(PY) -m uv pip compile setup.py --extra all tools/benchmarks/requirements.in --constraint requirements.lock --universal \
	  --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet -o tools/benchmarks/requirements.lock
	@$(PY) -m uv pip compile tools/benchmarks/quix-requirements.in --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --quiet -o tools/benchmarks/quix-requirements.lock
	@$(PY) -m uv pip compile deploy/release/requirements.in --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --quiet -o deploy/release/requirements.lock

include deploy/package.mk deploy/release.mk

clean: ## stop the checkout's brokers and remove all that the project made, data included
	@if [ -x $(PY) ]; then for folder in .kafka/*/; do \
	  if [ -d "$$folder" ]; then KAFKA_PORT=$$(basename "$$folder") $(BROKER) stop; fi; done; fi
	@rm -rf .venv .jars .bench .release .kafka .scorestream warehouse dist build lib/*.egg-info
