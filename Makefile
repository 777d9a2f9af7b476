# make demo: install, serve the bundled model, classify bundled photos.
# make web: the bundled model and the web page, until Ctrl-C.
# make test: install, lint, check types, run every test.
# --no-compile: Python compiles what it loads; all that torch brings would take long. It must
# be allowed to keep it: else every process compiles torch anew.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SERVER_STAMP := $(VENV)/.installed-server
AUDIT_STAMP := build/audit/.installed
CHECKOV_STAMP := build/checkov/.installed
ALL_STAMP := $(VENV)/.installed-all
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo web serve test lint check proto buf kserve-client constraints docs notebook client-wheel audit sbom deploy-check fuzz clean

demo: $(SERVER_STAMP)
	@$(BIN)/python examples/demo.py

web: $(SERVER_STAMP)
	@$(BIN)/python examples/demo.py --web

serve: $(SERVER_STAMP)
	$(BIN)/python -m server

# One thread a process: two processes of two threads would wait for each other. In order, which
# has the files of few and long tests first: else one process would wait for the other in the end.
test: $(ALL_STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: $(ALL_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/lint-imports

proto: $(ALL_STAMP)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m proto.generate

# The site of docs/, with every link checked: build/site/index.html.
docs: $(ALL_STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# Style of the .proto files, and whether they break clients; needs npm.
buf: $(ALL_STAMP)
	$(BIN)/python -m proto.buf

# KServe's own client library, for its tests, in an environment of its own: it needs pandas below 3.
kserve-client:
	$(PYTHON) -m venv build/kserve
	build/kserve/bin/pip install --quiet kserve==0.21.0

# The tutorial's notebook, run from its first cell to its last: build/tutorial.ipynb.
notebook: $(ALL_STAMP)
	mkdir -p build
	$(BIN)/jupyter execute examples/tutorial.ipynb --output=$(abspath build)/tutorial.ipynb --timeout=600

# Repin every dependency to its newest release that the project's bounds admit.
constraints:
	$(PYTHON) -m venv build/constraints
	build/constraints/bin/pip install --quiet -e ".[all]"
	build/constraints/bin/pip freeze --exclude-editable > constraints.txt

# The client's own wheel, dist/menagerie_client-*.whl, tried in an environment of its own.
client-wheel:
	rm -rf build/client dist/menagerie_client-*.whl
	$(PYTHON) -m venv build/client
	build/client/bin/python -m deploy.client_wheel dist
	build/client/bin/pip install --quiet --no-compile -c constraints.txt dist/menagerie_client-*.whl
	cd build && client/bin/python -m client --help > client/help.txt
	cd build && client/bin/python -c "import client; client.Client().close()"
	du -sk build/client/lib/python*/site-packages/* \
		| grep -v -E '/(grpc|pip|setuptools|pkg_resources|_distutils_hack)[^/]*$$' \
		| awk '{ kib += $$1 } END { printf "%.1f MiB installed beside grpcio\n", kib / 1024 }'

# Tools in an environment of their own: what they need is not ours to pin.
$(AUDIT_STAMP): Makefile
	$(PYTHON) -m venv build/audit
	build/audit/bin/pip install --quiet pip-audit==2.10.1 cyclonedx-bom==7.5.0
	@touch $@

# Known vulnerabilities of the pinned dependencies; asks the databases on the internet.
audit: $(AUDIT_STAMP)
	build/audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt

# What a release is made of: CycloneDX, every pinned dependency.
sbom: $(AUDIT_STAMP)
	build/audit/bin/cyclonedx-py requirements constraints.txt --pyproject pyproject.toml \
		--output-reproducible --of JSON -o build/sbom.cdx.json

# In an environment of its own, too: it pins a hundred packages.
$(CHECKOV_STAMP): Makefile
	$(PYTHON) -m venv build/checkov
	build/checkov/bin/pip install --quiet checkov==3.3.30
	@touch $@

# What is deployed, by every tool: kubectl, Kubernetes' schemas, checkov, hadolint, promtool, systemd.
# Says at the end which of them is not installed.
deploy-check: $(ALL_STAMP) $(CHECKOV_STAMP)
	PATH="$$PATH:$(abspath build/checkov/bin)" $(BIN)/python -m pytest -rs tests/unit/deploy

# The long fuzzing: a million executions of each target.
fuzz: $(ALL_STAMP)
	for target in decode manifest handlers; do $(BIN)/python -m tests.fuzz $$target || exit 1; done

clean:
	rm -rf $(VENV) build

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(SERVER_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e ".[server,web,int8]"
	@touch $@

$(ALL_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e ".[all]"
	@touch $@ $(SERVER_STAMP)
