# `make release-check`: what a release is made of, and whether it is fit to be one; after `make verify`.
.PHONY: release-check

RELEASE := build/release
AUDIT := .release/venv/bin

release-check: setup docs build/runtime.lock .release/.done ## wheel, bill of materials and audit of the packages, in build/release
	@git diff --quiet HEAD || { echo "error: a release is made of a commit, without changes" >&2; exit 1; }
	@rm -rf $(RELEASE) && mkdir -p $(RELEASE)
	@$(PY) -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir $(RELEASE) .
	@$(AUDIT)/cyclonedx-py requirements build/runtime.lock --output-reproducible --output-file $(RELEASE)/scorestream.cdx.json
	@# Strict: a package that the database cannot be asked about has not passed.
	@$(AUDIT)/pip-audit --strict --requirement build/runtime.lock --require-hashes --disable-pip --progress-spinner off
	@echo "$(RELEASE) holds $$(ls $(RELEASE) | xargs)"

.release/.done: deploy/release/requirements.lock .venv/.done
	@echo "setting up .release"
	@$(PY) -m venv --clear .release/venv
	@.release/venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r deploy/release/requirements.lock
	@touch $@
