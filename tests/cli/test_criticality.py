"""`llckit criticality` on a table of runs."""

import csv
import json

import numpy as np
import pytest

from llckit.cli import main
from llckit.toys import curie_weiss

NAMES = ("size", "control", "order_parameter", "susceptibility", "specific_heat", "binder")


def table(path, columns):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return str(path)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    data = curie_weiss((64, 128, 256, 512))._asdict()
    return table(tmp_path_factory.mktemp("runs") / "runs.csv", {name: data[name] for name in NAMES})


@pytest.mark.slow
def test_the_verdict_as_json_and_nothing_else(runs, tmp_path, capsys):
    picture = tmp_path / "collapse.png"
    assert main(["criticality", runs, "--json", "--plot", str(picture)]) == 0
    out = capsys.readouterr().out
    found = json.loads(out)
    assert out.count("\n") == 1
    assert (found["order"], found["verdict"]) == ("continuous", "consistent")
    assert found["nu_star"] == pytest.approx(2, rel=0.02)
    assert picture.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_the_verdict_in_words(runs, capsys):
    assert main(["criticality", runs]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("consistent: ")
    assert any(line.startswith("ν*") for line in lines)


@pytest.mark.slow
def test_empty_cells_are_what_was_not_measured(tmp_path, capsys):
    data = curie_weiss((64, 128, 256))._asdict()
    columns = {name: data[name] for name in NAMES[:3]}
    columns["specific_heat"] = [""] * len(data["size"])
    assert main(["criticality", table(tmp_path / "runs.csv", columns), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "inconclusive"
    assert "specific heat" in found["reason"]


@pytest.mark.slow
def test_a_bimodality_tells_two_phases(tmp_path, capsys):
    size, x = np.repeat([64.0, 256, 1024, 4096], 9), np.tile(np.linspace(-4, 4, 9), 4)
    share = 1 / (1 + np.exp(x))
    columns = {"size": size, "control": x / size, "order_parameter": share + 0.05}
    columns["bimodality"] = np.where(abs(x) < 2, 1 - 12 / size, 0.4)
    picture = tmp_path / "collapse.png"
    for error in (0.2 * (1 - columns["bimodality"]), [""] * len(size)):
        columns["bimodality_se"] = error
        assert main(["criticality", table(tmp_path / "runs.csv", columns), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["order"] == "first-order"
        assert "bimodality" in found["reason"]
    assert main(["criticality", str(tmp_path / "runs.csv"), "--plot", str(picture)]) == 0
    assert picture.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"size": [1], "binder": [1]}, "has columns size, binder; expected size, control and any of"),
        ({"size": [1], "control": [1]}, "expected size, control and any of order_parameter"),
        (
            {"size": [1], "control": [1], "binder": [1], "suseptibility": [1]},
            "has a column suseptibility; expected",
        ),
        ({"size": [1], "control": [1], "binder": ["x"]}, "line 2: column binder holds 'x'"),
        ({"size": [1], "control": [1], "binder": [1], "susceptibility_se": [1]}, "susceptibility_se without"),
        ({"size": [], "control": [], "binder": []}, "has a header but no rows"),
    ],
)
def test_tables_that_are_none(columns, message, tmp_path, capsys):
    assert main(["criticality", table(tmp_path / "runs.csv", columns)]) == 2
    assert message in capsys.readouterr().err


def test_a_picture_that_exists_is_refused_first(runs, tmp_path, capsys):
    picture = tmp_path / "there.png"
    picture.write_bytes(b"mine")
    assert main(["criticality", runs, "--plot", str(picture)]) == 2
    assert picture.read_bytes() == b"mine"
    assert "exists" in capsys.readouterr().err
