"""The shape of the source: who may import whom, sizes, and habits that the style asks for."""

import ast
import re
import statistics
from pathlib import Path

import pytest

import llckit
from docs.draw_imports import GROUND_FILES, import_graph, pictures

PACKAGE = Path(llckit.__file__).parent
ROOT = PACKAGE.parent
EVERYTHING = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
MAY_IMPORT = {
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
PARTS = {  # of a room: each part, and the parts that it may import
    "criticality": {"collapse": set(), "thermodynamics": set(), "exponents": {"collapse", "thermodynamics"}},
    "toys": {"oracles": set(), "spins": {"oracles"}, "training": {"oracles", "spins"}},
}
WITHOUT_TORCH = {"transitions", "criticality"}
EXTRAS = {"matplotlib", "xarray", "lightning", "transformers", "safetensors", "distributed", "sklearn", "arviz"}

LONGEST_FUNCTION = 60  # lines of code: without docstrings, comments and blank lines
CORE = ("sampling", "posterior", "llc")
LONG_FUNCTIONS: dict[str, str] = {}  # "llc/file.py:function" and the reason why it is not split

MEDIAN_FILE, LONGEST_FILE = 170, 350
LONGEST_DOCSTRING = 39

USER_DATA = {"data", "batch", "inputs", "outputs"}  # what users hand over may be of any type
VERDICTS = {"rule", "reason", "advice", "message", "verdict"}  # sentences for people
TAKES_APART = {"split", "rsplit", "partition", "rpartition", "startswith", "endswith", "removeprefix", "find", "index"}
OTHER_PEOPLES_TEXT = {"llckit/environment.py": "/proc/cpuinfo", "llckit/posterior/reading.py": "an error of torch's"}


def sources(*folders):
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


TEXTS = {path: path.read_text() for path in sources("llckit", "tests", "benchmarks")}
NODES = {path: [*ast.walk(ast.parse(text))] for path, text in TEXTS.items()}
FILES = {
    **{room: [path for path in NODES if path.is_relative_to(PACKAGE / room)] for room in MAY_IMPORT},
    "ground floor": [PACKAGE / f"{name}.py" for name in GROUND_FILES],
}


def none(found):
    assert not found, "\n".join(found)


def name(path):
    return path.relative_to(ROOT).as_posix()


def imports(path):
    """The import statements of a file, and for each the modules that it names."""
    for node in NODES[path]:
        if isinstance(node, ast.Import):
            yield node, [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "rooms are imported by their full name"
            from_top = node.module == "llckit"
            yield node, [f"llckit.{alias.name}" for alias in node.names] if from_top else [node.module]


def docstrings(nodes):
    for node in nodes:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            yield node.body[0]


def lines_of_code(function, lines):
    words = {i for node in docstrings(ast.walk(function)) for i in range(node.lineno, node.end_lineno + 1)}
    return sum(
        i not in words and lines[i - 1].strip() != "" and not lines[i - 1].strip().startswith("#")
        for i in range(function.lineno, function.end_lineno + 1)
    )


@pytest.mark.parametrize("room", FILES)
def test_a_room_uses_only_the_rooms_it_stands_on(room):
    allowed = MAY_IMPORT.get(room, set()) | {room} | set(GROUND_FILES)
    for path in FILES[room]:
        used = {name.split(".")[1] for _, names in imports(path) for name in names if name.startswith("llckit.")}
        assert used <= allowed, name(path)


@pytest.mark.parametrize("room", PARTS)
def test_the_parts_of_a_room_import_one_way(room):
    parts = {path.name for path in (PACKAGE / room).iterdir() if (path / "__init__.py").exists()}
    assert parts == set(PARTS[room])
    for part, allowed in PARTS[room].items():
        for path in FILES[room]:
            if path.is_relative_to(PACKAGE / room / part):
                words = [used.split(".") for _, names in imports(path) for used in names]
                used = {w[2] for w in words if w[:2] == ["llckit", room] and len(w) > 2}
                assert used & parts <= allowed | {part}, name(path)


@pytest.mark.parametrize("room", FILES)
def test_extras_are_imported_lazily_and_array_rooms_know_no_torch(room):
    for path in FILES[room]:
        found = [(node, {name.split(".")[0] for name in names}) for node, names in imports(path)]
        assert not set().union(*(names for node, names in found if node.col_offset == 0)) & EXTRAS, name(path)
        if room in WITHOUT_TORCH:
            assert "torch" not in set().union(*(names for _, names in found)), name(path)


@pytest.mark.slow
def test_no_file_imports_itself_by_way_of_others():
    left = import_graph()
    while loose := {file for file in left if not left[file] & left.keys()} | left.keys() - set().union(*left.values()):
        left = {file: used for file, used in left.items() if file not in loose}
    none([f"{file} imports {sorted(used & left.keys())}" for file, used in left.items()])


def test_rooms_are_those_of_the_plan_and_each_is_inhabited():
    assert MAY_IMPORT.keys() == EVERYTHING
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", *GROUND_FILES}
    for folder in [PACKAGE / name for name in MAY_IMPORT]:
        found = [node for path in FILES[folder.name] for node in NODES[path]]
        assert any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in found), folder.name


def test_each_room_has_its_suite():
    for name in EVERYTHING:
        assert [*(ROOT / "tests" / name).rglob("test_*.py"), *(ROOT / "tests").glob(f"test_{name}*.py")], name


def test_the_public_face_is_complete():
    for name in llckit.__all__:
        assert getattr(llckit, name).__doc__
    assert sorted(llckit.__all__) == llckit.__all__


def test_private_names_stay_in_their_file():
    found = []
    for path, nodes in NODES.items():
        modules = set()
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "llckit":
                found += [f"{name(path)}: {alias.name}" for alias in node.names if alias.name.startswith("_")]
                modules |= {alias.asname or alias.name for alias in node.names if is_module(node.module, alias.name)}
        for node in nodes:
            if isinstance(node, ast.Attribute) and re.match("_[^_]", node.attr) and isinstance(node.value, ast.Name):
                found += [f"{name(path)}: {node.value.id}.{node.attr}"] if node.value.id in modules else []
    none(found)


def is_module(package, name):
    path = ROOT.joinpath(*package.split("."), name)
    return path.is_dir() or path.with_suffix(".py").exists()


def test_functions_of_the_core_are_short():
    long = {}
    for path in [path for room in CORE for path in FILES[room]]:
        lines = TEXTS[path].splitlines()
        for node in NODES[path]:
            if isinstance(node, ast.FunctionDef) and (length := lines_of_code(node, lines)) > LONGEST_FUNCTION:
                long[f"{path.relative_to(PACKAGE).as_posix()}:{node.name}"] = length
    none([f"{place} {length}" for place, length in long.items() if place not in LONG_FUNCTIONS])
    assert LONG_FUNCTIONS.keys() <= long.keys()


def test_files_are_short():
    lengths = {name(path): len(text.splitlines()) for path, text in TEXTS.items()}
    none([f"{path} {length}" for path, length in lengths.items() if length > LONGEST_FILE])
    assert statistics.median(lengths.values()) <= MEDIAN_FILE


def test_docstrings_fit_on_a_screen():
    none(
        [
            f"{name(path)}:{node.lineno} {length}"
            for path, nodes in NODES.items()
            for node in docstrings(nodes)
            if (length := node.end_lineno - node.lineno + 1) > LONGEST_DOCSTRING
        ]
    )


def test_no_logic_reads_a_sentence_back():
    """Nothing looks for words in a text, or takes the text of a verdict apart: a decision is a value of a type."""
    found = []
    for path in [path for files in FILES.values() for path in files]:
        for node in NODES[path]:
            subject, sought = taken_apart(node)
            is_verdict = (
                isinstance(subject, ast.Attribute | ast.Name) and ast.unparse(subject).split(".")[-1] in VERDICTS
            )
            is_phrase = isinstance(sought, ast.Constant) and re.search(r"\S\s|\s\S", str(sought.value)) is not None
            if (is_verdict or is_phrase) and name(path) not in OTHER_PEOPLES_TEXT:
                found.append(f"{name(path)}:{node.lineno} {ast.unparse(node)}")
    none(found)


def taken_apart(node):
    """The text that an expression searches, and what it searches for."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in TAKES_APART:
        return node.func.value, node.args[0] if node.args else None
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
        return (node.comparators[0], node.left) if isinstance(node.left, ast.Constant) else (None, None)
    return None, None


def test_only_what_users_hand_over_is_of_any_type():
    """Of what the package and its rooms show: a number, a setting or a result has a type."""
    found = []
    for path in [path for files in FILES.values() for path in files if path.name != "__init__.py"]:
        for function, place in public_functions(path):
            arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
            arguments += [more for more in (function.args.vararg, function.args.kwarg) if more]
            loose = [x.arg for x in arguments if has_any(x.annotation) and x.arg not in USER_DATA]
            loose += ["its result"] if has_any(function.returns) else []
            found += [f"{name(path)}:{place} {argument}" for argument in loose]
    none(sorted(set(found)))


def public_functions(path):
    """Functions and methods of what the package or a room imports in its `__init__`."""
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    shown = {
        alias.name
        for package in [PACKAGE / "__init__.py", *(parent / "__init__.py" for parent in path.parents)]
        for node in NODES.get(package, [])
        if isinstance(node, ast.ImportFrom) and node.module == module
        for alias in node.names
    }
    for node in NODES[path][0].body:
        if isinstance(node, ast.FunctionDef) and node.name in shown:
            yield node, node.name
        if isinstance(node, ast.ClassDef) and node.name in shown:
            methods = [method for method in node.body if isinstance(method, ast.FunctionDef)]
            public = [method for method in methods if not re.match("_[^_]", method.name)]
            yield from ((method, f"{node.name}.{method.name}") for method in public)


def has_any(annotation):
    return annotation is not None and any(
        isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(annotation)
    )


@pytest.mark.slow
def test_the_pictures_of_imports_are_up_to_date():
    old = [name(path) for path, content in pictures().items() if not path.exists() or path.read_text() != content]
    assert old == [], "run `make pictures`"
