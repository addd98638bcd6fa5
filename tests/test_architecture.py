"""The rooms import one way only, in the order of the line from a training run to its report."""

import ast
from pathlib import Path

import pytest

import llckit

PACKAGE = Path(llckit.__file__).parent
EVERYTHING = {
    "store",
    "posterior",
    "sampling",
    "geometry",
    "llc",
    "transitions",
    "criticality",
    "toys",
    "plotting",
    "report",
    "cli",
}
GROUND = {"errors", "checks", "files", "tables", "environment"}
MAY_IMPORT = {
    "errors": set(),
    "checks": GROUND,
    "files": GROUND,
    "tables": GROUND,
    "environment": GROUND,
    "store": set(),
    "posterior": set(),
    "sampling": {"posterior"},
    "geometry": {"posterior"},
    "llc": {"store", "posterior", "sampling", "geometry"},
    "transitions": set(),
    "criticality": set(),
    "toys": {"posterior", "store"},
    "plotting": EVERYTHING,
    "report": EVERYTHING,
    "cli": EVERYTHING,
}
WITHOUT_TORCH = {"transitions", "criticality"}
EXTRAS = {"matplotlib", "xarray", "lightning", "transformers", "safetensors", "distributed", "sklearn", "arviz"}


def modules():
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree):
    """Absolute module names that a tree imports, relative imports and `from llckit import x` included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "rooms are imported by their full name"
            assert node.module is not None
            yield from [f"llckit.{alias.name}" for alias in node.names] if node.module == "llckit" else [node.module]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_uses_only_the_rooms_it_stands_on(path):
    own = room(path)
    allowed = MAY_IMPORT[own] | {own} | GROUND
    used = {name.split(".")[1] for name in imported(ast.parse(path.read_text())) if name.startswith("llckit.")}
    assert used <= allowed


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_extras_are_imported_lazily_and_array_rooms_know_no_torch(path):
    tree = ast.parse(path.read_text())
    statements = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    top_level = {name.split(".")[0] for node in statements for name in imported(node)}
    assert not top_level & EXTRAS
    if room(path) in WITHOUT_TORCH:
        assert "torch" not in {name.split(".")[0] for name in imported(tree)}


def test_every_room_of_the_plan_is_inhabited():
    for name in MAY_IMPORT:
        code = [PACKAGE / f"{name}.py"] if (PACKAGE / f"{name}.py").exists() else list((PACKAGE / name).glob("*.py"))
        assert any(
            isinstance(node, (ast.FunctionDef, ast.ClassDef))
            for path in code
            for node in ast.walk(ast.parse(path.read_text()))
        ), name


def test_the_public_face_is_complete():
    for name in llckit.__all__:
        assert getattr(llckit, name).__doc__
    assert sorted(llckit.__all__) == llckit.__all__
