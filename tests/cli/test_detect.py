"""`llckit detect`: curves and spectrograms as tables, its options, and what it leaves out."""

import json

import numpy as np
import pytest

from llckit.cli import main
from llckit.tables import write_table


@pytest.mark.slow
def test_detect_links_transitions_across_the_scales_of_a_table(tmp_path, capsys):
    cells, steps = tmp_path / "cells.csv", [round(1.25**k) for k in range(8, 48)]
    rise = [(1, 5.0, steps), (10, 5.0, steps), (100, 5.0, [])]  # the finest scale shows nothing
    rows = [
        f"{step},{3 - (step > 200)},{base + 20 * (step > 200 and step in seen) + 0.1 * (i % 3)},{n_beta}"
        for n_beta, base, seen in rise
        for i, step in enumerate(steps)
    ]
    cells.write_text("\n".join(["step,loss,llc,n_beta", *rows]))
    picture = tmp_path / "cells.png"
    assert main(["detect", str(cells), "--json", "--plot", str(picture)]) == 0
    (linked,) = json.loads(capsys.readouterr().out)["transitions"]
    assert linked["n_beta"] == [1, 10]
    assert linked["kind"] == "A"
    assert 150 < linked["location"] < 260
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["detect", str(cells)]) == 0
    assert "2 of 3 scales" in capsys.readouterr().out
    curve = tmp_path / "curve.csv"
    curve.write_text("\n".join(["step,loss,llc,n_beta", *rows[: len(steps)]]))
    page = tmp_path / "report.html"
    assert main(["report", str(cells), "-o", str(page)]) == 2
    assert "--spectrogram" in capsys.readouterr().err
    elsewhere = tmp_path / "elsewhere.csv"
    elsewhere.write_text("step,loss,llc,n_beta\n" + "\n".join(f"{7 + 10**6},1,1,{x}" for x in (1, 2)))
    assert main(["report", str(curve), "--spectrogram", str(elsewhere), "-o", str(page)]) == 2
    assert "no step in common" in capsys.readouterr().err
    assert main(["report", str(curve), "--spectrogram", str(curve), "-o", str(page)]) == 2
    assert "two or more" in capsys.readouterr().err
    assert not page.exists()
    assert main(["report", str(curve), "--spectrogram", str(cells), "-o", str(page)]) == 0
    assert "2 of 3" in page.read_text(encoding="utf-8")


NO_MINIMA = ["not a local minimum"] * 3 + ["converged"] * 17


def test_detect_leaves_out_what_is_no_llc(tmp_path, capsys):
    rows = [f"{10 * i},{3 - i / 10},{5 - (30 if i < 3 else 0)},{kind}" for i, kind in enumerate(NO_MINIMA)]
    (tmp_path / "c.csv").write_text("\n".join(["step,loss,llc,outcome", *rows]))
    assert main(["detect", str(tmp_path / "c.csv")]) == 0
    out, err = capsys.readouterr()
    assert "no transition found" in out  # the rise from -25 to 5 is none of the LLC
    assert "3 of 20 estimates are no LLC" in err
    assert "steps 0, 10, 20" in err


@pytest.mark.slow
def test_detect_has_one_knob_and_two_axes(tmp_path, capsys):
    step = np.arange(0, 4000, 50)
    rng = np.random.default_rng(0)
    llc = 5 / (1 + np.exp(-(step - 2000) / 150)) + 0.1 * rng.standard_normal(len(step))
    path = str(tmp_path / "curve.csv")
    write_table(path, {"step": step, "loss": 3 - llc / 5, "llc": llc, "recorded_accuracy": llc / 5})
    assert main(["detect", path, "--axis", "linear", "--false-boundaries", "0.001", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["transitions"]
    assert found["location"] == pytest.approx(2000, abs=150)
    assert {move["name"] for move in found["moves"]} == {"accuracy", "loss"}
    assert main(["detect", path, "--axis", "linear"]) == 0
    assert "with it move" in capsys.readouterr().out
    assert main(["detect", path, "--false-boundaries", "7"]) == 2
    assert "false_boundaries is 7" in capsys.readouterr().err
