from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from schemas.errors import ConfigError, InputError
from tests.support.inputs.chat_templates import PUBLISHED
from tests.support.text_tokenizers import text_tokenizer
from tests.support.tokenizer_json import save, tokenizer_json, with_added
from tokenizer.text.chat.render import RenderedChat, render_chat
from tokenizer.text.chat.templates import use_template
from tokenizer.text.tokenizer import TextTokenizer

CORPUS = ["Somebody walks in, looks around and says: what happened here? USER: ASSISTANT: <vision> </vision>\n"] * 4
NOW = datetime(2026, 11, 28)
CHATS: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": "Hello, what's  up?\n"}],
    [{"role": "user", "content": " a\n\n"}, {"role": "assistant", "content": "漢字"}, {"role": "user", "content": "b"}],
    [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nA1"},
        {"role": "user", "content": "q2"},
        {"role": "assistant", "content": "A2."},
    ],
]


class Published:
    """A tokenizer with a template, and the same as the library `tokenizers` loads it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.template, kind, tokens, (self.bos, self.eos) = PUBLISHED[name]
        self.library: Tokenizer = with_added(tokenizer_json(kind, CORPUS, size=600), tokens, special=name != "qwen3")
        config = {"bos_token": self.bos, "eos_token": self.eos, "chat_template": self.template}
        self.ours = TextTokenizer.load(save(self.library, folder, config=config))

    def reference(self, messages: list[dict[str, Any]], *, prompt: bool) -> list[int]:
        """Return the ids of `apply_chat_template`: every name of a special token in the output is the token."""
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
        environment.globals["raise_exception"] = lambda message: (_ for _ in ()).throw(TemplateError(message))
        environment.globals["strftime_now"] = NOW.strftime
        values = {"messages": messages, "bos_token": self.bos, "eos_token": self.eos, "add_generation_prompt": prompt}
        text = environment.from_string(self.template).render(values)
        ids: list[int] = self.library.encode(text, add_special_tokens=False).ids
        return ids

    def render(self, messages: list[dict[str, Any]], **options: Any) -> RenderedChat:
        return render_chat(messages, self.ours, now=NOW, **options)


@pytest.fixture(scope="module", params=PUBLISHED)
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Published:
    return Published(request.param, tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    """A tokenizer with the template of LWM."""
    tokenizer = text_tokenizer("llama", CORPUS, tmp_path_factory.mktemp("llama") / "tokenizer.model")
    use_template(tokenizer, "lwm")
    return tokenizer


@pytest.mark.parametrize("messages", CHATS)
@pytest.mark.parametrize("prompt", [True, False])
def test_ids_equal_those_of_the_template_and_the_library(
    published: Published, messages: list[dict[str, Any]], prompt: bool
) -> None:
    if "</think>" in messages[1 % len(messages)]["content"] and published.template != PUBLISHED["qwen3"][0]:
        messages = [message | {"content": message["content"].replace("think", "b")} for message in messages]
    ids = published.render(messages, add_generation_prompt=prompt).ids
    assert ids.dtype == np.uint32
    assert ids.tolist() == published.reference(messages, prompt=prompt)


def test_ids_equal_those_of_transformers(published: Published, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="compares with the package transformers")
    published.ours.files.write(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = theirs.apply_chat_template(CHATS[0], add_generation_prompt=True, return_dict=True)["input_ids"]
    now = render_chat(CHATS[0], published.ours).ids.tolist()
    assert now == ids


def test_names_of_special_tokens_in_messages_stay_text(published: Published) -> None:
    control, plain = set(published.ours.control.values()), [{"role": "user", "content": "x"}]
    expected = [i for i in published.render(plain).ids.tolist() if i in control]
    for name in [*published.ours.control, "<vision>", "</vision>"]:
        for content in (
            name,
            f"a {name}b",
            f"{name[0]}\n{name[1:]}",
            name[1:],
            name[:-1],
            f"{name}{name}",
            f" {name} \n",
        ):
            ids = published.render([{"role": "user", "content": content}]).ids
            assert [i for i in ids.tolist() if i in control] == expected
            assert content.strip() in published.ours.decode(ids)


def test_private_use_characters_in_messages_stay_text(published: Published) -> None:
    content = "".join(map(chr, range(0xF0000, 0xF0100))) + "\U00100001"
    assert content in published.ours.decode(published.render([{"role": "user", "content": content}]).ids)
    with pytest.raises(InputError, match="unpaired surrogate"):
        published.render([{"role": "user", "content": "\udc80"}])


def test_the_ids_of_the_assistant_are_its_answers_with_the_end_of_its_turn(published: Published) -> None:
    chat = published.render(CHATS[1], add_generation_prompt=False, mask=True)
    assert chat.assistant is not None
    answer = chat.ids[chat.assistant]
    assert answer[-1] == published.ours.eos_id
    assert published.ours.decode(answer).strip() == "漢字"
    assert chat.assistant.sum() < len(chat.ids) / 2
    assert published.render(CHATS[0]).assistant is None


def test_answers_that_the_template_changes_later_cannot_be_told_apart(tmp_path: Path) -> None:
    qwen = Published("qwen3", tmp_path)
    with pytest.raises(ConfigError, match="render each answer with the messages before it"):
        qwen.render(CHATS[2], mask=True)
    assert qwen.render(CHATS[2][:2], mask=True, add_generation_prompt=False).assistant is not None


def test_the_prompt_of_lwm_is_built_in(llama: TextTokenizer) -> None:
    ids = render_chat([{"role": "user", "content": "What happens?"}], llama).ids
    text = "You are a helpful assistant. USER: What happens? ASSISTANT:"
    assert ids.tolist() == [llama.bos_id, *llama.encode(text).tolist()]
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a"}]
    chat += [{"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    ids = render_chat(chat, llama).ids
    parts = [llama.encode(part).tolist() for part in ("Be brief. USER: a ASSISTANT: b", " USER: c ASSISTANT:")]
    assert ids.tolist() == [llama.bos_id, *parts[0], llama.eos_id, *parts[1]]


def test_the_question_comes_before_the_frames_of_a_video(llama: TextTokenizer) -> None:
    content = [{"type": "video_url", "video_url": {"url": "a.mp4"}}, {"type": "text", "text": "What is <vision>?"}]
    chat = render_chat([{"role": "user", "content": content}], llama)
    question = llama.encode("You are a helpful assistant. USER: What is <vision>?\n").tolist()
    answer = llama.encode(" ASSISTANT:").tolist()
    before = [llama.bos_id, *question, *llama.begin_vision]
    assert chat.ids.tolist() == [*before, *llama.end_vision, *answer]
    assert chat.media == (len(before),)


def test_images_keep_their_place_in_published_templates(tmp_path: Path) -> None:
    zephyr = Published("zephyr", tmp_path)
    content = [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}, {"type": "image_url"}]
    chat = zephyr.render([{"role": "user", "content": content}])
    assert len(chat.media) == 2
    for at in chat.media:
        assert tuple(chat.ids[:at][-len(zephyr.ours.begin_vision) :].tolist()) == zephyr.ours.begin_vision
        assert tuple(chat.ids[at:][: len(zephyr.ours.end_vision)].tolist()) == zephyr.ours.end_vision


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (["hello"], "a message must be an object"),
        ([{"content": "a"}], "string `role`"),
        ([{"role": "user", "content": 7}], "must be a string or a list"),
        ([{"role": "user", "content": [{"type": "audio"}]}], "must be of type text, image"),
        ([{"role": "user", "content": object()}], "must be JSON values"),
        ([{"role": "user"}], "has no attribute 'content'"),
        ([{"role": "assistant", "content": "a"}], "roles must alternate"),
    ],
)
def test_malformed_messages_are_an_error(tmp_path: Path, messages: list[Any], reason: str) -> None:
    mistral = Published("mistral", tmp_path)
    with pytest.raises(ConfigError, match=reason):
        mistral.render(messages)
