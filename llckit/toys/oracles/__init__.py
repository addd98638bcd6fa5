"""Models whose local learning coefficient is known in closed form; `catalog.py` lists them and says how to add one."""
