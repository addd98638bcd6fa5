PYTHON ?= python3
PIP = .venv/bin/python -m pip --disable-pip-version-check
PYTEST = .venv/bin/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

.PHONY: setup demo test test-quick lint wheel pictures bench results

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	$(PIP) install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: setup
	.venv/bin/llckit demo grokking --out demo

test: setup
	$(PYTEST)

test-quick: setup
	$(PYTEST) -m "not slow and not kills"

lint: setup
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/pyright

wheel: setup
	.ci/check_wheel

pictures: setup
	.venv/bin/python docs/draw_imports.py

bench: setup
	.venv/bin/llckit bench

results: setup
	.venv/bin/python -m benchmarks.render
