PYTHON ?= python3
PIP = .venv/bin/python -m pip --disable-pip-version-check

.PHONY: setup demo test lint bench

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	$(PIP) install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: setup
	.venv/bin/llckit demo grokking --out demo

test: setup
	.venv/bin/python -m pytest --numprocesses 2 --dist loadfile

lint: setup
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/pyright

bench: setup
	.venv/bin/llckit bench
