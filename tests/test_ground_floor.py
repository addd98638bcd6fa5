"""The helpers that every room stands on."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from llckit.checks import check_bool, check_instance, check_integer, check_number, check_positive, check_seed
from llckit.environment import environment
from llckit.errors import InputError
from llckit.files import check_new_file, check_path, replace_file, write_new_file
from llckit.tables import read_table, read_tracked_table, table_column, table_words, write_table


@pytest.mark.parametrize("value", [3, np.int64(3), torch.tensor(3)])
def test_integers_of_all_libraries_are_integers(value):
    assert check_integer("count", value, 3) == 3
    assert type(check_integer("count", value, 3)) is int


@pytest.mark.parametrize(
    ("value", "given"),
    [
        (2, "2"),
        (np.int64(2), "2"),
        (True, "True"),
        (3.0, "3.0"),
        ("3", "'3'"),
        (None, "None"),
        (torch.ones(2), "a Tensor"),
        ([3], "a list"),
    ],
)
def test_a_message_says_what_came_and_what_was_expected(value, given):
    with pytest.raises(InputError) as error:
        check_integer("count", value, 3)
    assert str(error.value) == f"count is {given}; expected an integer >= 3"


@pytest.mark.parametrize("value", [-1, 0.5, True, None])
def test_a_seed_is_an_integer_of_zero_or_more(value):
    with pytest.raises(InputError, match=r"^seed is .*; expected an integer >= 0$"):
        check_seed(value)


@pytest.mark.parametrize("value", [0, 0.0, -1, math.nan, math.inf, True, "1", None])
def test_positive_numbers(value):
    assert check_positive("scale", np.float32(0.5)) == 0.5
    with pytest.raises(InputError, match=r"^scale is .*; expected a positive number, such as 1$"):
        check_positive("scale", value, ", such as 1")


@pytest.mark.parametrize("check", [check_number, check_positive])
def test_a_number_is_kept_as_it_was_given(check):
    assert [repr(check("scale", value)) for value in (2, 2.0, np.float32(2), np.int64(2))] == ["2", "2.0", "2.0", "2.0"]


@pytest.mark.parametrize("value", [-0.5, math.nan, math.inf, True, "1", None])
def test_numbers(value):
    assert check_number("offset", -0.5) == -0.5
    assert check_number("offset", 0, 0) == 0.0
    with pytest.raises(InputError, match=r"^offset is .*; expected a finite number >= 0$"):
        check_number("offset", value, 0)


def test_only_true_and_false_are_true_or_false():
    assert check_bool("flag", False) is False
    with pytest.raises(InputError, match=r"^flag is 1; expected True or False$"):
        check_bool("flag", 1)


def test_instances_of_a_class():
    assert check_instance("name", "x", str) == "x"
    with pytest.raises(InputError, match=r"^name is 3; expected a str, or None$"):
        check_instance("name", 3, str, ", or None")


@pytest.mark.parametrize("value", ["", "a\0b", b"bytes", None, 3])
def test_paths_are_strings_or_paths(value):
    assert check_path("file", "a/b") == check_path("file", Path("a/b")) == Path("a/b")
    with pytest.raises(InputError, match=r"^file is .*; expected a string or a path, such as 'run'$"):
        check_path("file", value, ", such as 'run'")


def test_a_path_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    assert check_new_file(tmp_path / "a.CSV", [".csv"]) == tmp_path / "a.CSV"
    (tmp_path / "taken.csv").touch()
    for path, message in (
        (None, "path is None; expected a string or a path"),
        (tmp_path / "a.txt", "ends in .txt; expected a name that ends in .csv"),
        (tmp_path / "taken.csv", "exists already; choose another name or remove it"),
        (tmp_path / "no" / "a.csv", "make it first"),
    ):
        with pytest.raises(InputError) as error:
            check_new_file(path, [".csv"])
        assert str(error.value).endswith(message)


def test_a_table_comes_back_and_nan_is_an_empty_cell(tmp_path):
    path = tmp_path / "table.csv"
    write_table(path, {"step": [0, 1], "loss": np.array([0.1, math.nan]), "note": ["a", "b"]})
    assert path.read_text() == "step,loss,note\n0,0.1,a\n1,,b\n"
    names, rows = read_table(path)
    assert names == ["step", "loss", "note"]
    np.testing.assert_array_equal(table_column(path, rows, "loss"), [0.1, math.nan])
    with pytest.raises(InputError, match=r"table\.csv, line 2: column note holds 'a'; expected a number$"):
        table_column(path, rows, "note")


def test_files_that_are_no_tables_are_refused(tmp_path):
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\xff")
    for name, reason in (("missing.csv", "No such file"), ("picture.csv", "not a text file")):
        with pytest.raises(InputError, match=rf"{name} cannot be read: {reason}"):
            read_table(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "step,loss\n1,0,5\n",
            "line 2 has 3 cells; expected 2, one for each of step, loss; write numbers with",
        ),
        ("step,loss\n1,2\n\n3\n", "line 4 has 1 cells; expected 2"),
        ("step,loss,loss\n1,2,3\n", "has 2 columns loss; expected every name once"),
        ("step;loss\n1;0,5\n", "separates its columns by semicolons; expected commas"),
        ("step\tloss\n1\t0.5\n", "separates its columns by tabs; expected commas"),
    ],
)
def test_a_table_that_would_be_read_as_another_is_refused(tmp_path, text, message):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(InputError) as error:
        read_table(tmp_path / "table.csv")
    assert message in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "step,loss,llc\n0,2,1\n10,,3\n",
        "Step,train/loss,eval/LLC\n0,2,1\n10,,3\n",
        '"Step","a - b - loss","a - b - loss__MIN","a - b - loss__MAX","a - b - llc"\n0,2,2,2,1\n10,,,,3\n',
        "run_id,key,value,step,timestamp\na,llc,1,0,5\na,llc,3,10,6\na,loss,2,0,5\n",
        "run_id,key,value,step,timestamp\na,llc,3,10,6\na,llc,1,0,5\na,loss,2,0,5\n",
    ],
)
def test_exports_of_trackers_are_read_as_the_table_that_they_mean(tmp_path, text):
    path = tmp_path / "table.csv"
    path.write_text(text)
    names, rows = read_tracked_table(path, ["step", "loss", "llc"])
    assert {*names} == {"step", "loss", "llc"}
    found = {name: table_column(path, rows, name).tolist() for name in names}
    assert str(found["loss"]) == "[2.0, nan]"
    assert (found["step"], found["llc"]) == ([0, 10], [1, 3])


def test_a_tracker_s_errors_are_not_lost(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("Step,r - loss,r - llc,r - llc_se,r - a/x,r - b/x\n0,2,1,0.5,7,8\n")
    names, _ = read_tracked_table(path, ["step", "loss", "llc"])
    assert names == ["step", "loss", "llc", "llc_se", "r - a/x", "r - b/x"]


def test_a_whole_table_with_the_columns_of_mlflow_stays(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("step,loss,key,value\n0,2,a,1\n10,1,a,1\n")
    assert read_tracked_table(path, ["step", "loss"]) == read_table(path)


def test_a_column_that_is_there_is_not_taken_for_another(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("step,loss,Loss,global_step\n0,2,1,7\n")
    assert read_tracked_table(path, ["step", "loss"]) == read_table(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step,train/loss,eval/loss\n0,2,1\n", "has columns train/loss, eval/loss; expected one that may be loss"),
        ("Step,a - loss,b - loss\n0,2,1\n", "has columns a - loss, b - loss; expected one that may be loss"),
        ("run_id,key,value,step\na,loss,1,0\nb,loss,1,0\n", "holds the runs a, b; expected one"),
        ("key,value,step\nloss,1,0\nloss,2,0\n", "line 3 has loss of step 0 again; expected it once"),
        ("key,value,step\nloss,1,zero\n", "line 2: column step holds 'zero'; expected a number"),
    ],
)
def test_exports_that_may_mean_several_things_are_refused(tmp_path, text, message):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(InputError) as error:
        read_tracked_table(tmp_path / "table.csv", ["step", "loss"])
    assert message in str(error.value)


def test_two_columns_without_a_name_do_no_harm(tmp_path):
    (tmp_path / "table.csv").write_text(",step,\n0,1,a\n")
    names, rows = read_table(tmp_path / "table.csv")
    assert names == ["", "step", ""]
    assert rows[0]["step"] == "1"


def test_cells_are_one_of_some_words(tmp_path):
    rows = [{"kind": " Not  a minimum"}, {"kind": "fine "}]
    assert table_words("t.csv", rows, "kind", ["fine", "not a minimum"]) == ["not a minimum", "fine"]
    assert table_words("t.csv", [{"kind": " "}] * 2, "kind", ["fine"]) == []
    for rest in ("fin", ""):
        with pytest.raises(InputError, match=rf"t\.csv, line 3: column kind holds '{rest}'; expected one of fine$"):
            table_words("t.csv", [{"kind": "fine"}, {"kind": rest}], "kind", ["fine"])


@pytest.mark.parametrize("cell", ["1_5", "1e_5", "0x1f", "1 5", "1.5.2"])
def test_what_looks_like_no_number_is_none(cell):
    with pytest.raises(InputError, match=r"column a holds .*; expected a number"):
        table_column("t.csv", [{"a": cell}], "a")


def test_a_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path):
    file = tmp_path / "kept.json"
    for content in (b"first", b"second"):
        replace_file(file, content)
        assert file.read_bytes() == content
    assert [*tmp_path.iterdir()] == [file]


def test_a_new_file_never_replaces_one(tmp_path):
    file = tmp_path / "table.csv"
    write_new_file(file, b"first")
    with pytest.raises(InputError, match="exists already"):
        write_new_file(file, b"second")
    assert file.read_bytes() == b"first"


def test_results_say_where_they_come_from():
    found = environment()
    assert found.keys() >= {"date", "cpu", "cores", "python", "threads", "llckit", "torch", "numpy", "scipy"}
    assert all(found.values())
