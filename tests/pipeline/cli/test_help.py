"""The help of a command shows every option as one paragraph, with a readable placeholder."""

from __future__ import annotations

import pytest

import longreel
from pipeline.cli.help import described
from pipeline.cli.options import options_of
from pipeline.cli.subcommands import SUBCOMMANDS


@pytest.mark.slow
@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_help_has_the_names_and_defaults_of_the_command(name: str) -> None:
    command_class = SUBCOMMANDS[name].load()
    real, shown = options_of(command_class), options_of(described(command_class))
    assert [(option.name, option.default) for option in shown] == [(option.name, option.default) for option in real]


def test_optional_values_and_empty_defaults_read_well(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit):
        longreel.main(["run", "--help"])
    printed = capsys.readouterr().out
    assert "--text-tokenizer PATH" in printed
    assert "--config FILE" in printed
    assert "--select.licenses TEXT ..." in printed
    assert "--pack.mixture.kind-epochs NAME NUMBER ..." in printed
    assert "None" not in printed
    assert "(default: )" not in printed
    assert "(default: 4.0)" in printed or "(default: 1.0)" in printed
