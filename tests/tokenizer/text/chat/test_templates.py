from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.text.qa import QaConfig, Turn, lay_out
from schemas.errors import ConfigError
from schemas.weight_files.chat_templates import CHATML, DOCUMENTS, LWM
from tests.support.text_tokenizers import text_tokenizer
from tests.support.tokenizer_json import save, tokenizer_json
from tokenizer.text.chat.render import render_chat
from tokenizer.text.chat.templates import chat_template, turn_ends, use_template
from tokenizer.text.tokenizer import TextTokenizer

CORPUS = ["a vision of <vision> and </vision>, somebody walks in"] * 4


def tokenizer_with(folder: Path, template: Any) -> TextTokenizer:
    return TextTokenizer.load(
        save(tokenizer_json("gpt2", CORPUS, size=400), folder, config={"chat_template": template})
    )


def test_the_published_template_comes_first_then_chatml_then_documents(tmp_path: Path) -> None:
    assert chat_template(tokenizer_with(tmp_path / "own", "{{ x }}")) == "{{ x }}"
    assert chat_template(tokenizer_with(tmp_path / "none", None)) == CHATML
    assert chat_template(text_tokenizer("llama", CORPUS, tmp_path / "text.model")) == DOCUMENTS


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
    assert turn_ends(tokenizer) == ((2, 0), ())  # <|im_end|> and <|endoftext|>


def test_in_the_layout_of_documents_the_next_question_ends_an_answer(tmp_path: Path) -> None:
    tokenizer = text_tokenizer("llama", CORPUS, tmp_path / "text.model")
    assert turn_ends(tokenizer) == ((tokenizer.eos_id,), ("\nUSER:",))


def test_another_template_is_a_built_in_one_or_a_file(tmp_path: Path) -> None:
    tokenizer = text_tokenizer("llama", CORPUS, tmp_path / "text.model")
    use_template(tokenizer, "lwm")
    assert chat_template(tokenizer) == LWM
    assert turn_ends(tokenizer).texts == ()
    (tmp_path / "own.jinja").write_text("{{ messages[0].content }}")
    use_template(tokenizer, str(tmp_path / "own.jinja"))
    assert chat_template(tokenizer) == "{{ messages[0].content }}"
    with pytest.raises(ConfigError, match="'none' is no chat template: give documents, lwm, chatml, or"):
        use_template(tokenizer, "none")


def test_a_chat_has_the_layout_of_the_documents_that_models_are_trained_on(tmp_path: Path) -> None:
    tokenizer = text_tokenizer("own", ["Call me Ishmael. Who tells the story?\nUSER: ASSISTANT:"], tmp_path / "t.model")
    turns = [
        Turn("context", "Call me Ishmael."),
        Turn("question", "Who tells the story?"),
        Turn("answer", "Ishmael."),
        Turn("question", "Who else?"),
        Turn("answer", "Me."),
    ]
    *parts, last = lay_out(turns, QaConfig())
    document = np.concatenate([[tokenizer.bos_id], *(tokenizer.encode(part.text) for part in parts)])
    roles = {"context": "system", "question": "user", "answer": "assistant"}
    chat = [{"role": roles[turn.role], "content": turn.text} for turn in turns[:-1]]
    assert last.text == " Me."
    assert tokenizer.decode(render_chat(chat, tokenizer).ids[1:]) == tokenizer.decode(document[1:])
    assert render_chat(chat, tokenizer).ids[-4:].tolist() == document[-4:].tolist()
