PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= auto
STAMP := $(VENV)/.installed

.PHONY: demo test check lint types tests docs wheel browser lowest without-torch constraints clean

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
LOWEST_TESTS := tests/archives tests/corpus tests/genes tests/faults tests/cli/test_app.py tests/model/test_cell_model.py tests/tasks/test_embed.py \
	tests/tasks/annotate/test_annotator.py tests/training/test_trainer.py

lowest:
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install -q -c scripts/lowest.txt torch
	$(LOWEST)/bin/python -m pip install -q -c scripts/lowest.txt -e '.[$(LOWEST_EXTRAS)]' hypothesis psutil pytest pytest-timeout
	$(LOWEST)/bin/python -m pytest -p no:cacheprovider -W ignore::DeprecationWarning $(LOWEST_TESTS)

# What needs no PyTorch, on another Python: make without-torch OTHER=python3.13
OTHER ?= python3.13
WITHOUT_TORCH := .venv-without-torch
WITHOUT_TORCH_TESTS := tests/cli tests/corpus tests/datasets tests/faults tests/fuzz tests/genes tests/metrics tests/ontology tests/report \
	tests/test_architecture.py tests/test_compiled.py tests/test_cores.py tests/test_files.py tests/test_log.py

without-torch:
	$(OTHER) -m venv $(WITHOUT_TORCH)
	$(WITHOUT_TORCH)/bin/python -m pip install -q -c constraints.txt pytest
	$(WITHOUT_TORCH)/bin/python scripts/without_torch.py > $(WITHOUT_TORCH)/requirements.txt
	$(WITHOUT_TORCH)/bin/python -m pip install -q -c constraints.txt -r $(WITHOUT_TORCH)/requirements.txt
	$(WITHOUT_TORCH)/bin/python -m pip install -q --no-deps -e .
	PYTHONPATH=scripts $(WITHOUT_TORCH)/bin/python -m pytest -p without_torch -p no:cacheprovider $(WITHOUT_TORCH_TESTS) \
		--ignore=tests/corpus/test_together.py --deselect tests/test_architecture.py::test_the_probe_sees_what_is_loaded

constraints: $(STAMP)
	{ echo "# Every version that CI installs. Regenerate with: make constraints"; $(BIN)/python -m pip freeze --exclude-editable | sed -E 's%^torch(==| @ .*/torch-)([0-9.]+).*%torch==\2%'; } > constraints.txt

clean:
	rm -rf $(VENV) $(LOWEST) $(WITHOUT_TORCH) dist site demo-out
