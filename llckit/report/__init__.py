"""One HTML page about one run: the answer, the picture, the tables. Opens from disk and asks nothing of a network."""

from llckit.report.page import write_report
from llckit.report.stages import free_energy

__all__ = ["free_energy", "write_report"]
