PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= auto
STAMP := $(VENV)/.installed

.PHONY: demo test check lint types tests docs wheel browser lowest constraints clean

# The machine needs only $(PYTHON); everything else is pinned in constraints.txt.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -U pip
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e . --group test --group lint --group docs --group check
	touch $@

demo: $(STAMP)
	$(BIN)/scssl demo --out demo-out --overwrite

test: $(STAMP) lint types tests

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

tests: $(STAMP)
	$(BIN)/python -m pytest -n $(JOBS)

check: $(STAMP) docs wheel browser
	$(BIN)/python -m pytest -m slow -n $(JOBS)

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict -q
	! grep -rnE '@@|--8<--' site --include='*.html'
	$(BIN)/python -m pytest -q tests/test_docs.py

wheel: $(STAMP)
	scripts/check_wheel.sh $(BIN)/python

browser: $(STAMP)
	scripts/install_chromium.sh
	$(BIN)/python -m pytest -m browser

# At the lowest versions that pyproject.toml allows, in an environment of their own. Warnings of old packages about newer
# ones are none of ours; scib-metrics, which is fixed at one version, is left out.
LOWEST := .venv-lowest
LOWEST_EXTRAS := census,compare,dask,demo,download,faiss,hub,mudata,ontology,tensorboard
LOWEST_TESTS := tests/corpus tests/genes tests/faults tests/cli/test_app.py tests/test_model.py tests/tasks/test_embed.py \
	tests/tasks/annotate/test_annotator.py tests/training/test_trainer.py

lowest:
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install -q -c scripts/lowest.txt torch
	$(LOWEST)/bin/python -m pip install -q -c scripts/lowest.txt -e '.[$(LOWEST_EXTRAS)]' hypothesis psutil pytest pytest-timeout
	$(LOWEST)/bin/python -m pytest -p no:cacheprovider -W ignore::DeprecationWarning $(LOWEST_TESTS)

constraints: $(STAMP)
	{ echo "# Every version that CI installs. Regenerate with: make constraints"; $(BIN)/python -m pip freeze --exclude-editable | sed -E 's%^torch(==| @ .*/torch-)([0-9.]+).*%torch==\2%'; } > constraints.txt

clean:
	rm -rf $(VENV) $(LOWEST) dist site demo-out
