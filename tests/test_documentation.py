"""The links of the documentation lead to files and headings that exist, and the reference names what the code reads."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

_TOP = Path(__file__).parents[1]
_PAGES = [*sorted(_TOP.glob("*.md")), *sorted(_TOP.glob("docs/**/*.md")), *sorted(_TOP.glob("tokenizer/**/*.md"))]
_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_GENERATED = set(re.findall(r'"(reference/[\w/]+\.md)"', (_TOP / "docs" / "hooks" / "pages.py").read_text()))
_INTERNAL = {"LONGREEL_LAUNCHER", "LONGREEL_NATIVE_OUTPUT"}  # from a launcher to its processes
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def _anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub and MkDocs derive them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[ -]+", "-", re.sub(r"[^\w\- ]", "", heading.lower()).strip()) for heading in headings}


def _problem(page: Path, link: str) -> str | None:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if target.is_relative_to(_TOP / "docs") and target.relative_to(_TOP / "docs").as_posix() in _GENERATED:
        return None  # made when the site is built, which checks its headings
    if not target.exists():
        return f"{link}: no such file"
    return f"{link}: no such heading" if anchor and anchor not in _anchors(target) else None


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(_TOP)))
def test_links_of_a_page_lead_to_files_and_headings_that_exist(page: Path) -> None:
    links = _LINK.findall(_CODE.sub("", page.read_text()))
    local = [link for link in links if "://" not in link and not link.startswith("mailto:")]
    assert [problem for link in local if (problem := _problem(page, link))] == []


def test_every_page_is_in_the_navigation() -> None:
    navigation = (_TOP / "mkdocs.yml").read_text()
    pages = [path.relative_to(_TOP / "docs").as_posix() for path in (_TOP / "docs").rglob("*.md")]
    assert [page for page in pages if f": {page}\n" not in navigation] == []


def test_the_reference_has_the_environment_variables_that_are_read() -> None:
    code = [p for package in ("pipeline", "trainer", "schemas", "tokenizer") for p in (_TOP / package).rglob("*.py")]
    read = {name for path in code for name in re.findall(r'environ(?:\.get\(|\[)"([A-Z_0-9]+)"', path.read_text())}
    read |= {name for path in code for name in re.findall(r'"(LONGREEL_[A-Z_]+)"', path.read_text())} - _INTERNAL
    reference = (_TOP / "docs" / "hooks" / "pages.py").read_text()
    assert len(read) > 3
    assert {name for name in read if name not in reference and not name.startswith("AWS_")} == set()


def test_the_layers_of_the_architecture_are_those_that_are_checked() -> None:
    contracts = tomllib.loads((_TOP / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    checked = {c["name"].rpartition(" ")[2]: c["layers"] for c in contracts if c["name"].startswith("Layers of the ")}
    table = dict(re.findall(r"(?m)^\| `(\w+)` \| (.+) \|$", (_TOP / "ARCHITECTURE.md").read_text()))
    for package, layers in checked.items():
        names = [sorted(name.removeprefix(f"{package}.") for name in layer.split(" | ")) for layer in layers]
        listed = [re.findall(r"`([\w.]+)`", layer) for layer in table[package].split(";")]
        listed = [[n if n[0] != "." else layer[0].split(".")[0] + n for n in layer] for layer in listed]
        assert [sorted(layer) for layer in listed] == names


def test_the_exceptions_of_the_architecture_are_those_that_are_allowed() -> None:
    contracts = tomllib.loads((_TOP / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (allowed,) = (c["ignore_imports"] for c in contracts if c["name"] == "Nobody imports the trainer")
    importing = {line.partition(" ->")[0].removesuffix(".*").replace(".", "/") for line in allowed}
    (named,) = re.findall(
        r"There\s+is one exception: (.*?) need both", (_TOP / "ARCHITECTURE.md").read_text(), re.DOTALL
    )
    assert {path.removesuffix(".py").rstrip("/") for path in re.findall("`(.+?)`", named)} == importing


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(_TOP)))
def test_the_modules_that_a_page_names_exist(page: Path) -> None:
    spans = [span for span in _CODE.findall(page.read_text()) if page.name != "CHANGELOG.md"]
    packages = "benchmarks|examples|pipeline|schemas|tests|tokenizer|trainer"
    paths = {path for span in spans for path in re.findall(rf"(?<![\w/.-])(?:{packages})/[\w/]+\.py\b", span)}
    assert [path for path in sorted(paths) if not (_TOP / path).exists() and "NAME" not in path] == []
