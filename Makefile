PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= auto
STAMP := $(VENV)/.installed

.PHONY: demo test check lint types tests docs wheel browser constraints clean

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

constraints: $(STAMP)
	{ echo "# Every version that CI installs. Regenerate with: make constraints"; $(BIN)/python -m pip freeze --exclude-editable | sed -E 's%^torch(==| @ .*/torch-)([0-9.]+).*%torch==\2%'; } > constraints.txt

clean:
	rm -rf $(VENV) dist site demo-out
