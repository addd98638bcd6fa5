"""One HTML page about one run: the answer, the picture, the tables. Opens from disk and asks nothing of a network."""

from llckit.report.stages import free_energy
from llckit.report.write_report import REPORT_ENDINGS, write_report

__all__ = ["REPORT_ENDINGS", "free_energy", "write_report"]
