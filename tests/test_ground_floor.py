"""The helpers that every room stands on."""

import math

import numpy as np
import pytest
import torch

from llckit.checks import check_bool, check_integer, check_number, check_positive, check_seed
from llckit.environment import environment
from llckit.errors import InputError
from llckit.files import replace_file, write_new_file


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
