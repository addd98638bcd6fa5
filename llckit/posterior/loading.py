"""`load_task` and `load_reference`: a task by its name in a Python file."""

from __future__ import annotations

import hashlib
import importlib.util
import socket
import sys
from pathlib import Path

from llckit.checks import check_bool, shown
from llckit.errors import InputError
from llckit.posterior.behavioral import behavioral_task
from llckit.posterior.compiling import Compiler
from llckit.posterior.reference import Reference
from llckit.posterior.task import Task


def load_task(reference: str, *, compile: bool = False) -> Task:
    """The task that a Python file defines: what the command line uses.

    Args:
        reference: `"file.py:NAME"`, where NAME is a `Task` or a function without arguments that returns one.
        compile: Whether the task compiles gradients (see `Task`), even if the file does not say so.

    Returns:
        The task.

    Raises:
        InputError: There is no such file or name, the file fails, NAME is not a task, or torch cannot compile here.
    """
    if not isinstance(reference, str):
        raise InputError(f'task is {shown(reference)}; expected a string "file.py:NAME"')
    check_bool("compile", compile)
    path, _, name = reference.rpartition(":")
    if not path or not name.isidentifier():
        raise InputError(f"task is {reference!r}; expected the form file.py:NAME, such as task.py:task")
    file = Path(path)
    if not file.is_file():
        found = "is not a file" if file.exists() else "does not exist"
        raise InputError(f"task file {path} {found}; expected a Python file that defines {name}")
    spec = importlib.util.spec_from_file_location(f"llckit_task_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise InputError(f"task file {path} is not a Python file; expected a name that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look modules up by name
    sys.path.insert(0, str(file.resolve().parent))
    try:
        spec.loader.exec_module(module)
        found = getattr(module, name, None)
        task = found() if callable(found) and not isinstance(found, Task) else found
    except InputError as error:
        raise InputError(f"task {reference}: {error}") from error
    except (Exception, SystemExit) as error:
        raise InputError(f"task file {path} failed: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(file.resolve().parent))
    if found is None:
        names = [key for key, value in vars(module).items() if isinstance(value, Task)]
        hint = f", such as {', '.join(names)}" if names else ""
        raise InputError(f"task file {path} does not define {name}; expected the name of a task in it{hint}")
    if not isinstance(task, Task):
        raise InputError(
            f"{name} in {path} is a {type(task).__name__}; expected an llckit.Task, or a function that gives one"
        )
    if compile and task.compiler is None:
        task.compiler = task.original.compiler = Compiler(task.device)
    task.reference = Reference(f"{file.resolve()}:{name}", _digest(file), compile=compile)
    return task


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def load_reference(reference: Reference) -> Task:
    """Make the task that another process has.

    Args:
        reference: The `reference` of that task.

    Returns:
        The same task, made anew.

    Raises:
        InputError: See `load_task`.
    """
    file = Path(reference.name.rpartition(":")[0])
    if file.is_file() and _digest(file) != reference.digest:
        raise InputError(
            f"task file {file} on {socket.gethostname()} is not the one that was loaded first; expected the same file "
            "on all machines: load the task again if it was edited since"
        )
    task = load_task(reference.name, compile=reference.compile)
    if reference.params is not None:
        task = task.restricted(reference.params)
    return behavioral_task(task) if reference.behavioral else task
