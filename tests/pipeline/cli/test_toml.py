"""Configuration files are read with exact messages and written so that tomllib reads them back."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli.jobs import Pack
from pipeline.cli.options import Scalar, options_of
from pipeline.cli.run import Run
from pipeline.cli.toml import read_config, spelled
from schemas.errors import UsageError

SCALARS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text()


@pytest.mark.slow
@given(st.one_of(SCALARS, st.lists(SCALARS), st.dictionaries(st.text(), SCALARS)))
def test_any_value_is_read_back(value: Scalar | list[Scalar] | dict[str, Scalar]) -> None:
    assert tomllib.loads(f"x = {spelled(value)}")["x"] == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("contxt = [4096]", "unknown key 'contxt'; did you mean 'context'?"),
        ("[decode]\nfsp = 4", "unknown key 'decode.fsp'; did you mean 'decode.fps'?"),
        ("[decodr]\nfps = 4", "unknown key 'decodr'; did you mean 'decode'?"),
        ("[decode.fps]\nx = 4", "decode.fps must be a number, got"),
        ('[decode]\nfps = "4"', 'decode.fps must be a number, got "4"'),
        ("units = 4.5", "units must be an integer, got 4.5"),
        ("units = true", "units must be an integer, got true"),
        ("retry = 1", "retry must be true or false, got 1"),
        ("vision = 3", "vision must be a string, got 3"),
        ("text-tokenizer = 3", "text-tokenizer must be a path or URL, got 3"),
        ('clips = "cuts"', 'clips must be one of whole, shots, seconds, got "cuts"'),
        ("context = 4096", "context must be a list, each element an integer, got 4096"),
        ("context = [4096, '8192']", 'context must be a list, each element an integer, got [4096, "8192"]'),
        ("[pack.mixture.kind-epochs]\nbook = 'x'", "pack.mixture.kind-epochs must be a table of numbers"),
        ("reconfigure = true", "unknown key 'reconfigure'"),
        ("units = ", "is not valid TOML"),
    ],
)
def test_a_wrong_key_or_value_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    options = [option for option in options_of(Run) if option.name != "reconfigure"]
    with pytest.raises(UsageError) as e:
        read_config(path, options)
    assert message in str(e.value)
    assert str(path) in str(e.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_config(tmp_path / "c.toml", options_of(Run))


def test_tables_underscores_and_optional_values_are_read(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('shard_bytes = 5\n[mixture]\ntext-share = "None"\nsource-epochs = { "a.b" = 2 }\n')
    assert read_config(path, options_of(Pack)) == {
        "shard-bytes": 5,
        "mixture.text-share": "None",
        "mixture.source-epochs": {"a.b": 2},
    }
