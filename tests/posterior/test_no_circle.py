"""The files of the room stand in one line: each imports only what stands before it."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

from llckit import posterior

ROOM = Path(posterior.__file__).parent


def imports_within(path):
    """Files of the room that a file imports, also for type checkers only."""
    prefix = "llckit.posterior."
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith(prefix):
            yield node.module.removeprefix(prefix)


def test_no_file_imports_itself_by_way_of_others():
    graph = {path.stem: set(imports_within(path)) for path in ROOM.glob("*.py") if path.stem != "__init__"}
    order = list(TopologicalSorter(graph).static_order())  # fails if there is a circle
    assert set(order) == set(graph)
    assert order.index("flat_loss") < order.index("checkpoint") < order.index("task")
