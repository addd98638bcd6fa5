"""Runnable comparisons, by area: `python -m benchmarks.<area>.<name>` from a checkout, `--quick` for a try.

What was measured is kept in `benchmarks/results/<area>/<name>.json`; `python -m benchmarks.render` makes
`docs/benchmarks.md` and the pictures of it. See `_harness.py` for what a benchmark is.
"""
