"""A count is printed with its noun in the right number, everywhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.counted import counted, counted_fact, few_digits

_ROOT = Path(__file__).parent.parent.parent
_MODULES = [_ROOT / "longreel.py"]
_MODULES += [path for name in ("schemas", "tokenizer", "pipeline", "trainer") for path in (_ROOT / name).rglob("*.py")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (counted(0, "item"), "0 items"),
        (counted(1, "item"), "1 item"),
        (counted(2_000, "known item"), "2,000 known items"),
        (counted(1, "copy", "copies"), "1 copy"),
        (counted(3, "copy", "copies"), "3 copies"),
        (counted_fact(1, "sequences in val"), "1 sequence in val"),
        (counted_fact(2_000, "candidates"), "2,000 candidates"),
        (counted_fact(2, "cut short"), "2 cut short"),
    ],
)
def test_noun_has_the_number_of_its_count(text: str, expected: str) -> None:
    assert text == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, "0"), (0.416, "0.42"), (4.0, "4"), (99.7, "100"), (4_163.0, "4,200")],
)
def test_two_digits_are_shown_without_an_exponent(value: float, expected: str) -> None:
    assert few_digits(value) == expected


def _messages(node: ast.AST) -> Iterator[ast.JoinedStr]:
    """Yield the f-strings below a node, except those of errors, whose counts are limits or wrong by definition."""
    if isinstance(node, ast.Raise) or (isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Error")):
        return
    if isinstance(node, ast.JoinedStr):
        yield node
    for child in ast.iter_child_nodes(node):
        yield from _messages(child)


def _plurals(text: ast.JoinedStr, plural: re.Pattern[str]) -> Iterator[str]:
    """Yield what follows a value and begins with a noun in the plural, unless the value is a constant or rounded."""
    for value, rest in zip(text.values, text.values[1:], strict=False):
        if (
            isinstance(value, ast.FormattedValue)
            and isinstance(rest, ast.Constant)
            and plural.match(f"}}{rest.value!s}")
        ):
            shown = ast.unparse(value)
            if not ast.unparse(value.value).isupper() and "." not in shown.rpartition(":")[2]:
                yield shown + str(rest.value)


def test_nouns_that_are_counted_somewhere_are_counted_everywhere() -> None:
    texts = {path: path.read_text() for path in _MODULES}
    counts = (re.findall(r"""counted\([^\n]*, ['"]([a-z -]+)['"]\)""", text) for text in texts.values())
    nouns = {noun for found in counts for noun in found} - {"token", "other"}  # tokens are many
    assert {"item", "sequence", "damaged line"} <= nouns
    plural = re.compile(rf"\}} (?:{'|'.join(sorted(nouns))})s\b(?! per)")
    found = [
        f"{path.relative_to(_ROOT)}: {counted}"
        for path, text in texts.items()
        if plural.search(text)
        for message in _messages(ast.parse(text))
        for counted in _plurals(message, plural)
    ]
    assert found == [], f"print these with schemas.counted.counted: {found}"
