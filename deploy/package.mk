# `make package`: what a cluster needs without a checkout; how it is used: docs/cluster.md.
.PHONY: package

# Tools of the package's environment; they are in no job's environment.
PACKAGE_TOOLS := uv==0.13.8 venv-pack==0.2.0 setuptools==80.9.0

package: setup build/environment.tar.gz ## what a cluster needs, without a checkout, in dist/
	@rm -rf dist build/zip && mkdir -p dist/jars build/zip
	@tar -c --exclude=__pycache__ -C lib scorestream | tar -x -C build/zip
	@git describe --always --abbrev=12 --exclude='*' --dirty=.dirty >build/zip/scorestream/BUILD
	@cd build/zip && $(abspath $(PY)) -m zipfile -c $(abspath dist)/scorestream-lib.zip scorestream
	@cp -R jobs conf dist/ && find dist -name __pycache__ -prune -exec rm -rf {} +
	@cp .jars/spark/*.jar dist/jars/ && cp -R .jars/s3 dist/jars/ && cp spark-submit.sh dist/
	@ln build/environment.tar.gz dist/environment.tar.gz
	@echo "dist/ holds the package: $$(du -sh dist | cut -f1), code $$(cat build/zip/scorestream/BUILD)"

# The locked packages without Spark, which is the cluster's own.
build/environment.tar.gz: build/runtime.lock
	@echo "packing the Python environment"
	@rm -rf build/environment
	@$(PY) -m venv build/environment
	@build/environment/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r build/runtime.lock
	@build/environment/bin/python -m pip uninstall --quiet --yes pyspark py4j pip setuptools
	@build/tools/bin/venv-pack --quiet --force --prefix build/environment --output $@
	@chmod 644 $@

# The locked packages without the development tools. Every line of it has to stand in requirements.lock, hashes
# included; development tools may need a package on more platforms.
build/runtime.lock: requirements.lock setup.py .venv/.done
	@rm -rf build/tools && mkdir -p build
	@$(PY) -m venv build/tools && build/tools/bin/python -m pip install --quiet --disable-pip-version-check $(PACKAGE_TOOLS)
	@build/tools/bin/uv pip compile setup.py --extra all --constraint requirements.lock --universal --python-version 3.11 \
	  --generate-hashes --no-annotate --no-emit-index-url --no-header --quiet -o build/runtime.lock.new
	@anywhere='s/ ; .*/ \\/'; ! sed "$$anywhere" build/runtime.lock.new | grep -vxFf <(sed "$$anywhere" requirements.lock)
	@mv build/runtime.lock.new $@
