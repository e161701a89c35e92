"""The public names of `import longreel`, which is fast."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import longreel

NAMES = {"run", "items", "rejections", "Dataset", "Part", "jax_batches", "load_model", "Model", "LongreelError"}


def test_these_names_are_public() -> None:
    assert set(longreel.API) == NAMES <= set(dir(longreel))


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_public_name_and_its_methods_are_documented(name: str) -> None:
    value = getattr(longreel, name)
    methods = [one for key, one in vars(value).items() if not key.startswith("_")] if inspect.isclass(value) else []
    functions = [one for one in methods if inspect.isfunction(one) or isinstance(one, property)]
    assert all(inspect.getdoc(one) for one in [value, *functions])


def test_an_unknown_name_is_an_attribute_error_with_the_known_ones() -> None:
    with pytest.raises(AttributeError, match="rejections"):
        longreel.nothing  # noqa: B018


def test_importing_longreel_imports_no_package_until_a_name_is_used() -> None:
    code = "import sys, longreel; print(sorted({'numpy', 'pyarrow', 'jax', 'pipeline'} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
