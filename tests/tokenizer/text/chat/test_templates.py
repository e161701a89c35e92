from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigError
from tests.support.text_tokenizers import text_tokenizer
from tests.support.tokenizer_json import save, tokenizer_json
from tokenizer.text.chat.templates import CHATML, LWM, chat_template, stop_ids
from tokenizer.text.tokenizer import TextTokenizer

CORPUS = ["a vision of <vision> and </vision>, somebody walks in"] * 4


def tokenizer_with(folder: Path, template: Any) -> TextTokenizer:
    return TextTokenizer.load(
        save(tokenizer_json("gpt2", CORPUS, size=400), folder, config={"chat_template": template})
    )


def test_the_published_template_comes_first_then_chatml_then_lwm(tmp_path: Path) -> None:
    assert chat_template(tokenizer_with(tmp_path / "own", "{{ x }}")) == "{{ x }}"
    assert chat_template(tokenizer_with(tmp_path / "none", None)) == CHATML
    assert chat_template(text_tokenizer("llama", CORPUS, tmp_path / "text.model")) == LWM


def test_a_list_of_templates_has_one_for_tools(tmp_path: Path) -> None:
    named = [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]
    tokenizer = tokenizer_with(tmp_path, named)
    assert (chat_template(tokenizer), chat_template(tokenizer, tools=True)) == ("a", "b")


@pytest.mark.parametrize(
    "template", [7, [1], [{"name": "x"}], [{"name": "x", "template": "a"}], [{"name": 1, "template": 2}]]
)
def test_a_malformed_template_is_an_error(tmp_path: Path, template: Any) -> None:
    with pytest.raises(ConfigError, match="chat_template|chat templates|templates of"):
        chat_template(tokenizer_with(tmp_path, template))


def test_the_ends_of_a_turn_stop_generation(tmp_path: Path) -> None:
    tokenizer = tokenizer_with(tmp_path, None)
    assert stop_ids(tokenizer) == (2, 0)  # <|im_end|> and <|endoftext|>
