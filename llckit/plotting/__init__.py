"""Pictures of a curve, a spectrogram and a collapse. Needs matplotlib, the extra `plot`.

Figures are made with matplotlib's object-oriented interface, so nothing here touches pyplot or a window.
"""

from llckit.plotting.is_doubtful import depends_on_scale, is_doubtful
from llckit.plotting.plot_collapse import plot_collapse
from llckit.plotting.plot_curve import plot_curve
from llckit.plotting.plot_spectrogram import plot_spectrogram
from llckit.plotting.save_figure import FIGURE_ENDINGS, save_figure

__all__ = [
    "FIGURE_ENDINGS",
    "depends_on_scale",
    "is_doubtful",
    "plot_collapse",
    "plot_curve",
    "plot_spectrogram",
    "save_figure",
]
