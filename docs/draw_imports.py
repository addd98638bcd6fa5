"""Draws which room, and which file of the core, imports which, from the source alone.

Writes `docs/imports.svg` (rooms) and `docs/imports-ROOM.svg` (files of the core's rooms). An arrow points to what is
imported. A box stands above everything that it imports. Arrows that longer ways imply are left out.

    python docs/draw_imports.py
"""

import ast
from collections.abc import Mapping
from html import escape
from itertools import pairwise
from pathlib import Path

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "llckit"
CORE = ("posterior", "sampling", "llc")
GROUND = "ground floor"
GROUND_FILES = ("checks", "environment", "errors", "files", "tables", "unwrap")

Graph = Mapping[str, set[str]]

WIDTH, THROUGH, HEIGHT, GAP_X, GAP_Y, MARGIN = 142, 4, 28, 18, 50, 16
STYLE = (
    "text{font:12px sans-serif;text-anchor:middle;fill:#1c2733}"
    "rect{fill:#eef3f8;stroke:#54708c}path{fill:none;stroke:#8fa3b7}#head path{fill:#8fa3b7}"
)


def import_graph(package: Path = PACKAGE) -> dict[str, set[str]]:
    """What each file imports of the package, inside functions and for type checkers included.

    Args:
        package: The folder of the package.

    Returns:
        For each module, such as "llc.scale" ("" is the package's own `__init__`), the modules that it imports.
    """
    known = {_module(path, package): path for path in sorted(package.rglob("*.py"))}
    return {name: set(_imports(path, package.name, known)) - {name} for name, path in known.items()}


def _module(path: Path, package: Path) -> str:
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path, package: str, known: Mapping[str, Path]):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            first, _, rest = name.partition(".")
            if first == package:
                yield rest if rest in known else rest.rpartition(".")[0]


def room_graph(files: Graph) -> dict[str, set[str]]:
    """The imports among rooms; the files of the ground floor count as one room.

    Args:
        files: The imports among files, see `import_graph`.

    Returns:
        For each room the rooms that it imports.
    """
    rooms: dict[str, set[str]] = {}
    for name, used in files.items():
        if name:
            rooms.setdefault(_room(name), set()).update(_room(other) for other in used if other)
    return {room: used - {room} for room, used in rooms.items()}


def _room(module: str) -> str:
    first = module.split(".")[0]
    return GROUND if first in GROUND_FILES else first


def files_of(room: str, files: Graph) -> dict[str, set[str]]:
    """The imports among the files of one room, without its `__init__`.

    Args:
        room: The name of its folder.
        files: The imports among files, see `import_graph`.

    Returns:
        For each file the files of the same room that it imports, by their names within the room.
    """
    inside = {name: name.removeprefix(f"{room}.") for name in files if name.startswith(f"{room}.")}
    return {short: {inside[other] for other in files[name] if other in inside} for name, short in inside.items()}


def levels(graph: Graph) -> dict[str, int]:
    """How many boxes stand below each: 0 if it imports nothing.

    Args:
        graph: What each imports.

    Returns:
        The level of each.

    Raises:
        ValueError: There is a circle.
    """
    found: dict[str, int] = {}
    while len(found) < len(graph):
        ready = [name for name in graph if name not in found and all(used in found for used in graph[name])]
        if not ready:
            raise ValueError(f"imports in a circle among {sorted(set(graph) - set(found))}")
        found |= {name: 1 + max((found[used] for used in graph[name]), default=-1) for name in ready}
    return found


def without_implied(graph: Graph) -> dict[str, set[str]]:
    """The graph without the arrows that longer ways imply.

    Args:
        graph: What each imports, without a circle.

    Returns:
        The fewest arrows by which the same can be reached.
    """
    reach: dict[str, set[str]] = {}
    for name in sorted(graph, key=levels(graph).__getitem__):
        reach[name] = graph[name].union(*(reach[used] for used in graph[name]))
    return {name: {x for x in used if not any(x in reach[other] for other in used)} for name, used in graph.items()}


def draw(graph: Graph, title: str) -> str:
    """The picture of a graph without circles.

    Args:
        graph: What each imports.
        title: What the picture shows, for screen readers.

    Returns:
        The SVG document.
    """
    arrows = without_implied(graph)
    level = _raised(levels(graph), arrows)
    routes = [_route(name, used, level) for name in sorted(arrows) for used in sorted(arrows[name])]
    rows = _ordered(level, routes)
    x = _spread(rows, routes)
    width = max(x[name] + _width(name) / 2 for row in rows for name in row) + MARGIN
    height = len(rows) * HEIGHT + (len(rows) - 1) * GAP_Y + 2 * MARGIN
    y = {name: height - MARGIN - HEIGHT - i * (HEIGHT + GAP_Y) for i, row in enumerate(rows) for name in row}
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        '<rect width="100%" height="100%" style="fill:#fff;stroke:none"/>',
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z"/></marker></defs>',
    ]
    lines += [_arrow(route, x, y) for route in routes]
    lines += [_box(name, x[name], y[name]) for name in sorted(graph)]
    return "\n".join([*lines, "</svg>", ""])


def _raised(level: Mapping[str, int], arrows: Graph) -> dict[str, int]:
    """Each box right below the lowest that imports it, so that arrows are short."""
    raised = dict(level)
    for name in sorted(level, key=lambda name: -level[name]):
        users = [raised[other] for other in arrows if name in arrows[other]]
        raised[name] = min(users) - 1 if users else level[name]
    return raised


def _width(name: str) -> int:
    return THROUGH if "->" in name else WIDTH


def _route(name: str, used: str, level: Mapping[str, int]) -> list[str]:
    """From a box to another one, with a place to pass in each row between them."""
    between = range(level[name] - 1, level[used], -1)
    return [name, *(f"{name}->{used} {i}" for i in between), used]


def _joined(routes: list[list[str]]) -> dict[str, list[str]]:
    """What each place is joined to, above and below it."""
    joined: dict[str, list[str]] = {}
    for route in routes:
        for upper, lower in pairwise(route):
            joined.setdefault(upper, []).append(lower)
            joined.setdefault(lower, []).append(upper)
    return joined


def _ordered(level: Mapping[str, int], routes: list[list[str]]) -> list[list[str]]:
    """The places row by row from the bottom, in an order with few crossings."""
    level = dict(level) | {name: level[route[0]] - i for route in routes for i, name in enumerate(route)}
    rows = [sorted(name for name in level if level[name] == i) for i in range(max(level.values()) + 1)]
    joined = _joined(routes)
    for sweep in range(24):
        step = 1 if sweep % 2 else -1  # rows are ordered by the row above, then by the row below
        at = {name: (i + 0.5) / len(row) for row in rows for i, name in enumerate(row)}
        for row in rows[::-step]:
            for name in row:
                near = [at[other] for other in joined.get(name, []) if level[other] == level[name] + step]
                at[name] = sum(near) / len(near) if near else at[name]
            row.sort(key=lambda name: (at[name], name))
            at |= {name: (i + 0.5) / len(row) for i, name in enumerate(row)}
    return rows


def _spread(rows: list[list[str]], routes: list[list[str]]) -> dict[str, float]:
    """The middle of each place from left to right: near what it is joined to, without overlap."""
    joined = _joined(routes)
    x = {name: float(i * (WIDTH + GAP_X)) for row in rows for i, name in enumerate(row)}
    for sweep in range(24):
        for row in rows[:: -1 if sweep % 2 else 1]:
            wanted = [
                sum(x[y] for y in joined[name]) / len(joined[name]) if name in joined else x[name] for name in row
            ]
            x |= dict(zip(row, _apart(row, wanted), strict=True))
    left = min(x[name] - _width(name) / 2 for name in x) - MARGIN
    return {name: value - left for name, value in x.items()}


def _apart(row: list[str], wanted: list[float]) -> list[float]:
    """The least moves from where places of a row want to be to where they do not overlap (isotonic regression)."""
    offset = [0.0]
    for one, other in pairwise(row):
        offset.append(offset[-1] + (_width(one) + _width(other)) / 2 + GAP_X)
    groups: list[list[float]] = []
    for value, shift in zip(wanted, offset, strict=True):
        groups.append([value - shift])
        while len(groups) > 1 and sum(groups[-2]) / len(groups[-2]) > sum(groups[-1]) / len(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    means = [sum(group) / len(group) for group in groups for _ in group]
    return [mean + shift for mean, shift in zip(means, offset, strict=True)]


def _arrow(route: list[str], x: Mapping[str, float], y: Mapping[str, float]) -> str:
    d = f"M{x[route[0]]:.0f} {y[route[0]] + HEIGHT}"
    for upper, lower in pairwise(route):
        top, bottom, bend = y[upper] + HEIGHT, y[lower], GAP_Y // 2
        d += f"C{x[upper]:.0f} {top + bend} {x[lower]:.0f} {bottom - bend} {x[lower]:.0f} {bottom}"
        if lower != route[-1]:
            d += f"V{bottom + HEIGHT}"
    return f'<path d="{d}" marker-end="url(#head)"/>'


def _box(name: str, x: float, y: float) -> str:
    text = f'<text x="{x:.0f}" y="{y + HEIGHT // 2 + 4}">{escape(name)}</text>'
    return f'<rect x="{x - WIDTH // 2:.0f}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5"/>{text}'


def pictures() -> dict[Path, str]:
    """All pictures of the documentation.

    Returns:
        For each file its content as the source stands now.
    """
    files = import_graph()
    drawn = {DOCS / "imports.svg": draw(room_graph(files), "Which room imports which")}
    for room in CORE:
        drawn[DOCS / f"imports-{room}.svg"] = draw(files_of(room, files), f"Which file of {room}/ imports which")
    return drawn


if __name__ == "__main__":
    for path, content in pictures().items():
        path.write_text(content)
