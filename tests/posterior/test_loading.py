import sys
import textwrap

import pytest

from llckit.errors import InputError
from llckit.posterior import Task, load_task

GOOD = """
    import torch
    from torch import nn
    from llckit.posterior import Task

    def loss_fn(model, batch):
        return model(batch).square().mean()

    def make():
        return Task(nn.Linear(2, 1), torch.ones(5, 2), loss_fn)

    def needs(argument):
        return argument

    def bad():
        return Task(nn.Linear(2, 1), torch.ones(5, 3), loss_fn)

    task = make()
    number = 3
"""


@pytest.fixture
def write(tmp_path):
    def put(text, name="my_task.py"):
        (tmp_path / name).write_text(textwrap.dedent(text))
        return str(tmp_path / name)

    return put


@pytest.mark.parametrize("name", ["task", "make"])
def test_a_task_or_a_function_that_makes_one(write, name):
    task = load_task(f"{write(GOOD)}:{name}")
    assert isinstance(task, Task)
    assert (task.n, task.dim) == (5, 3)


def test_the_file_may_import_its_neighbours(write):
    write("from torch import nn\nmodel = nn.Linear(2, 1)", "neighbour_of_task.py")
    path = list(sys.path)
    text = textwrap.dedent(GOOD) + "\nfrom neighbour_of_task import model\nown = Task(model, torch.ones(4, 2), loss_fn)"
    assert load_task(f"{write(text)}:own").n == 4
    assert sys.path == path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tusk", r"does not define tusk; expected the name of a task in it, such as task"),
        ("number", r"number in .* is a int; expected an llckit\.Task"),
        ("loss_fn", r"failed: TypeError"),
        ("needs", r"failed: TypeError: needs\(\) missing 1 required"),
        ("bad", r"my_task\.py:bad: loss_fn failed"),
    ],
)
def test_a_wrong_name_is_refused(write, name, message):
    with pytest.raises(InputError, match=message):
        load_task(f"{write(GOOD)}:{name}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1 / 0", r"failed: ZeroDivisionError"),
        ("def (", r"failed: SyntaxError"),
        ("import no_such_module_anywhere", r"failed: ModuleNotFoundError"),
        ("raise SystemExit(3)", r"failed: SystemExit"),
        ("", r"does not define task; expected the name of a task in it$"),
    ],
)
def test_a_file_that_fails_is_refused(write, text, message):
    path = list(sys.path)
    with pytest.raises(InputError, match=message):
        load_task(f"{write(text)}:task")
    assert sys.path == path


@pytest.mark.parametrize("reference", ["my_task.py", "my_task.py:", ":task", "my_task.py:a-b", ""])
def test_a_reference_of_another_form_is_refused(reference):
    with pytest.raises(InputError, match=r"expected the form file\.py:NAME"):
        load_task(reference)


def test_a_missing_file_is_refused(tmp_path, write):
    with pytest.raises(InputError, match=r"task file .*none\.py does not exist"):
        load_task(f"{tmp_path / 'none.py'}:task")
    with pytest.raises(InputError, match=r"is not a file"):
        load_task(f"{tmp_path}:task")
    with pytest.raises(InputError, match=r"is not a Python file"):
        load_task(f"{write('', 'notes.txt')}:task")
