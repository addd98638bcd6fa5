"""What the documents say of the project is so: versions, links, files and names."""

import re
import tomllib
from pathlib import Path

import pytest

import llckit

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
ROOMS = sorted(path.name for path in (ROOT / "llckit").iterdir() if (path / "__init__.py").exists())
FILE = re.compile(r"`((?:[a-z_]+/)+[a-z_]*(?:\.[a-z]+)?)`")
IDENTIFIER = re.compile(r"`(?:[a-z]+\.)?([A-Za-z_]{3,})(?:=[^`]*|\(\))?`")


def test_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == llckit.__version__
    assert f"\nversion: {llckit.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_files_are_there(path):
    text = path.read_text()
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert link.startswith("https://") or (path.parent / link).exists(), link
    for file in FILE.findall(text):
        places = [ROOT, ROOT / "llckit", path.parent]
        assert any((place / file).exists() for place in places) or file.startswith("estimates/"), file


def test_the_glossary_names_what_there_is():
    source = "\n".join(path.read_text() for path in (ROOT / "llckit").rglob("*.py"))
    names = set(re.findall(r"\w+", source))
    glossary = (ROOT / "docs" / "glossary.md").read_text().replace("recorded_NAME", "recorded_")
    missing = {name for name in IDENTIFIER.findall(glossary) if name not in names}
    assert missing == set()


def test_each_room_has_a_row_in_the_map_of_suites():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = "\n".join(line for line in text.splitlines() if line.startswith("| `llckit/"))
    assert [room for room in ROOMS if f"{room}/`" not in rows] == []
