from dataclasses import replace

import pytest

from .pages import STAGES, make_curve, written


@pytest.fixture(scope="session")
def full(tmp_path_factory):
    """A page with everything: two curves, stages, notes, settings."""
    folder = tmp_path_factory.mktemp("report")
    curve = make_curve()
    behavioral = replace(curve, behavioral=True)
    return written(
        folder, curve, STAGES, behavioral=behavioral, notes=["a <note>"], metadata={"samples": 924, "rule": "n/ln n"}
    )
