from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.packing.config import PackConfig
from pipeline.packing.curriculum import PRESETS, read_curriculum, read_curriculum_file
from pipeline.packing.mixture import Mixture
from schemas.errors import ConfigError


def written(folder: Path, text: str) -> Path:
    path = folder / "curriculum.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_stages_are_read_in_order_with_all_options(tmp_path: Path) -> None:
    stages = read_curriculum(
        written(
            tmp_path,
            """
            [[stage]]
            context = 4096
            [[stage]]
            name = "films"
            context = 32768
            text_share = 0.16
            min_tokens = 1024
            loss_weighting = "document"
            attention = "sequence"
            seed = 3
            kind_epochs = {video = 2.0}
            [stage.source_epochs]
            gutenberg = 0.5
            """,
        )
    )
    assert [(stage.name, stage.context_length) for stage in stages] == [("4096", 4096), ("films", 32768)]
    assert stages[0].config == PackConfig()
    mixture = Mixture(text_share=0.16, min_tokens=1024, kind_epochs={"video": 2.0}, source_epochs={"gutenberg": 0.5})
    assert stages[1].config == PackConfig(mixture=mixture, loss_weighting="document", attention="sequence", seed=3)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_read_by_name(name: str) -> None:
    stages = read_curriculum(name)
    assert len(stages) > 1


def test_what_concerns_training_is_left_to_its_reader(tmp_path: Path) -> None:
    text = """
    [train]
    steps = 3
    [[stage]]
    context = 64
    train = {batch-size = 2}
    """
    file = read_curriculum_file(written(tmp_path, text))
    assert file.train == {"steps": 3}
    assert file.stages[0].training == {"train": {"batch-size": 2}}
    assert file.stages[0].data.config == PackConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no stage"),
        ("stage = 3", "has no stage"),
        ("[[stage]\n", "is not TOML"),
        ("[train]\n[[stage]]\ncontext = 64\n[extra]\n", "unknown key 'extra'"),
        ("train = 3\n[[stage]]\ncontext = 64\n", "unknown key 'train'"),
        ("[[stage]]\nname = 'x'", "stage 1: `context` must be an integer number of tokens, got None"),
        ("[[stage]]\ncontext = '4096'", "must be an integer number of tokens, got '4096'"),
        ("[[stage]]\ncontext = true", "must be an integer number of tokens, got True"),
        ("[[stage]]\ncontext = 3", r"stage 1 \(3\): context_length must lie in 16"),
        ("[[stage]]\ncontext = 64\nname = '../x'", "`name` becomes a folder name.*got '../x'"),
        (
            "[[stage]]\ncontext = 64\ntext_shares = 0.1",
            "unknown option 'text_shares'; known are attention, context",
        ),
        ("[[stage]]\ncontext = 64\ntext_share = 'much'", r"stage 1 \(64\): "),
        ("[[stage]]\ncontext = 64\nkind_epochs = 3", r"stage 1 \(64\): "),
        ("[[stage]]\ncontext = 64\n[[stage]]\ncontext = 64", "two stages named '64'"),
    ],
)
def test_an_invalid_curriculum_raises_with_the_stage_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_curriculum(written(tmp_path, text))


def test_a_missing_curriculum_raises(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_curriculum(tmp_path / "nowhere.toml")
