"""The page `docs/benchmarks.md` and the pictures beside the results, all from stored results.

python -m benchmarks.render     (make results)
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks._documents import read_document
from benchmarks._harness import RESULTS, ROOT, Document, module_of, results_of
from llckit.files import replace_file

PAGE = ROOT.parent / "docs" / "benchmarks.md"
AREAS = {
    "estimator": "Estimates where the answer is known",
    "cost": "What sampling costs",
    "curves": "Curves over a run",
    "detector": "Finding transitions",
    "criticality": "Critical exponents",
    "geometry": "Bounds and ranks",
    "store": "The store",
    "peers": "Beside other tools",
}
PREFACE = """\
# Benchmarks

This page is made by `make results` from the results in `benchmarks/results/`; do not edit it. Each section names the
module that measured it. Its docstring says how, and its JSON file holds every case.

```sh
python -m benchmarks.estimator.coverage               # in a checkout, with .venv/bin on the path; writes its JSON file
python -m benchmarks.estimator.coverage --quick       # tiny sizes: seconds, and nothing is written
python -m benchmarks.estimator.coverage --resume      # goes on with the cases that the file does not have
python -m benchmarks.estimator.coverage --only tanh   # only the cases with that in their name
```

Results measured before a date, a commit and a CPU were recorded say so.
"""
DOTS_PER_INCH = 160
COLOURS = 256  # of a picture's palette


def benchmarks() -> Iterator[tuple[str, Path]]:
    """Area and file of every benchmark, in the order of the page."""
    for area in AREAS:
        for path in sorted((ROOT / area).glob("*.py")):
            if not path.name.startswith("_"):
                yield area, path


def page() -> str:
    """The page, from stored results."""
    parts, last = [PREFACE], ""
    for area, path in benchmarks():
        if area != last:
            parts.append(f"## {AREAS[area]}\n")
            last = area
        parts.append(section(path))
    return "\n".join(parts)


def section(path: Path) -> str:
    """What is known of one benchmark."""
    name, module = module_of(str(path)), importlib.import_module(module_of(str(path)))
    title = f"### {'/'.join(name.split('.')[1:])}\n\n{_summary(module)}\n"
    results = results_of(str(path))
    if not results.exists():
        return f"{title}\nNo result is stored yet: `python -m {name}`.\n"
    document = read_document(results)
    link = f"[JSON](../{results.relative_to(ROOT.parent)})"
    pictures = "".join(
        f"\n![{picture.stem}](../{picture.relative_to(ROOT.parent)})\n" for picture in pictures_of(results)
    )
    return f"{title}\n*{measured(document)}* {link}\n\n{module.report(document)}\n{pictures}"


def _summary(module: ModuleType) -> str:
    return (module.__doc__ or "").splitlines()[0]


def measured(document: Document) -> str:
    """When and with what a document was measured, in a sentence."""
    environment = document["environment"]
    when = [
        f"on {environment['date']}" if environment.get("date") else None,
        f"at commit {environment['commit']}" if environment.get("commit") else None,
        f"on {environment['cpu']}" if environment.get("cpu") else None,
    ]
    missing = [name for name, known in zip(("date", "commit", "CPU"), when, strict=True) if known is None]
    threads = environment["threads"]
    others = [
        f"Python {environment['python']}",
        f"torch {environment['torch']}",
        f"{threads} thread{'s'[: threads - 1]}",
    ]
    if document["seconds"] is not None:
        others.append(_duration(document["seconds"]))
    text = " ".join(["Measured", *(known for known in when if known is not None)])
    text += f" with {', '.join(others)}"
    return text + (f"; {_listed(missing)} not recorded." if missing else ".")


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def pictures_of(results: Path) -> list[Path]:
    """The pictures beside a document: those whose names begin with its own."""
    return sorted(results.parent.glob(f"{results.stem}*.png"))


def as_png(figure: Any) -> bytes:
    """A figure as a PNG with a palette, a third of the size of one in full colour."""
    from PIL import Image

    drawn, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DOTS_PER_INCH)
    pack(Image.open(drawn), packed)
    return packed.getvalue()


def pack(image: Any, file: Any) -> None:
    """Write an image as a PNG with a palette."""
    from PIL import Image

    image.convert("RGB").quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        file, "PNG", optimize=True
    )


def figures(path: Path) -> Mapping[str, Any]:
    """The pictures of one benchmark that its stored results suffice for, by name."""
    results, module = results_of(str(path)), importlib.import_module(module_of(str(path)))
    if not results.exists() or not hasattr(module, "figures"):
        return {}
    return module.figures(read_document(results))


def main() -> None:
    """Draw all pictures, then write the page, which links to them."""
    for area, path in benchmarks():
        for name, figure in figures(path).items():
            replace_file(RESULTS / area / f"{name}.png", as_png(figure))
    PAGE.parent.mkdir(exist_ok=True)
    replace_file(PAGE, page().encode())


if __name__ == "__main__":
    main()
