"""The public names of `import longreel`, which is fast."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import longreel

NAMES = {"run", "items", "rejections", "Dataset", "Part", "jax_batches", "load_model", "Model", "LongreelError"}


def test_these_names_are_public() -> None:
    assert set(longreel.API) == NAMES <= set(dir(longreel))


OPERATORS = ("__getitem__", "__len__")
NEVER_FAIL = {"Dataset.for_torch", "Dataset.__len__", "Arrays.__len__"}


def _documented() -> Iterator[tuple[str, Any]]:
    """Yield the public objects: those of `API`, those that docs/python_api.md adds, and their public methods."""
    others = [longreel.API[name] for name in ("run", "Dataset", "jax_batches", "load_model")]
    modules = [importlib.import_module(name) for name in (*others, "schemas.errors", "schemas.shards.sequence")]
    page = (Path(__file__).parents[1] / "docs" / "python_api.md").read_text()
    assert set(re.findall(r"^::: (.+)$", page, re.MULTILINE)) == {module.__name__ for module in modules}
    listed = [name for names in re.findall(r"members: \[(.+)\]", page) for name in names.split(", ")]
    for module in modules:
        for name, value in vars(module).items():
            chosen = name in listed if module.__name__.startswith("schemas") else not name.startswith("_")
            if chosen and getattr(value, "__module__", None) == module.__name__:
                yield name, value
                members = vars(value).items() if inspect.isclass(value) else ()
                yield from (
                    (f"{name}.{key}", one) for key, one in members if key in OPERATORS or not key.startswith("_")
                )


PUBLIC = {name: value for name, value in _documented() if callable(value) or isinstance(value, property)}


def test_the_public_objects_are_found() -> None:
    examples = {"Dataset.decode", "Dataset.__getitem__", "Model.ask", "PackedSequence", "ConfigError"}
    assert NAMES | examples <= set(PUBLIC)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_object_is_documented_with_what_it_returns_and_raises(name: str) -> None:
    value = PUBLIC[name]
    text = inspect.getdoc(value) or ""
    assert text
    if inspect.isfunction(value):
        assert inspect.signature(value).return_annotation == "None" or re.match("Return|Load", text)
        assert "Raises" in text or name in NEVER_FAIL
    if re.search(r"NDArray|jax\.Array", " ".join(map(str, _annotations(value)))):
        assert re.search(r"\[\w[\w, ]*\]", text), "shapes"
        assert re.search(r"u?int\d+|float\d+|`arrays`|SPAN_DTYPE", text), "dtypes"


def _annotations(value: Any) -> list[Any]:
    owner = value.fget if isinstance(value, property) else value
    return list(getattr(owner, "__annotations__", {}).values())


def test_an_unknown_name_is_an_attribute_error_with_the_known_ones() -> None:
    with pytest.raises(AttributeError, match="rejections"):
        longreel.nothing  # noqa: B018


def test_importing_longreel_imports_no_package_until_a_name_is_used() -> None:
    code = "import sys, longreel; print(sorted({'numpy', 'pyarrow', 'jax', 'pipeline'} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
