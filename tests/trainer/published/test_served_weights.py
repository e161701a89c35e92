"""SmolLM2 behind `longreel serve`, compared with llama.cpp's server on the same weights: `make real-weights`.

Both are asked by the unmodified `openai` client. llama.cpp gets the weights as `export-model` writes them, in float32:
with the published Q4_1 file it rounds activations to 8 bits, and answers differently.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from pipeline.evaluation.haystack import Budget, Haystack
from pipeline.evaluation.needles import NeedleConfig, needle_samples
from pipeline.evaluation.run import read_results, run_suite
from pipeline.evaluation.summary import compare
from pipeline.language_models.endpoint import Endpoint
from schemas.dataset_files import TEXT_TOKENIZER
from tests.support.published.llama_cpp import LlamaCpp
from tests.support.texts import story
from tokenizer.text.tokenizer import TextTokenizer
from trainer.published.exporting import ExportConfig, export_model

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("default")]

_QUESTIONS = {
    "What is the capital of France?": "Paris",
    "What is 2 + 2?": "4",
    "What color is the sky on a clear day?": "blue",
    "How many days are in a week?": "7",
    "What is the opposite of hot?": "cold",
    "Which ocean is between Europe and America?": "Atlantic",
    "What is the chemical symbol of water?": "H2O",
    "What is the capital of Japan?": "Tokyo",
    "Who wrote Romeo and Juliet?": "Shakespeare",
    "What language is spoken in Spain?": "Spanish",
}
_TOKENS = 32


@pytest.fixture(scope="module")
def ours(run: Path) -> Iterator[openai.OpenAI]:
    tests = ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR", "JAX_NUM_CPU_DEVICES")
    environment = {name: value for name, value in os.environ.items() if name not in tests}
    command = [sys.executable, "-m", "longreel", "serve", str(run), "--port", "0"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            found = re.search(r"http://127\.0\.0\.1:\d+", server.stdout.readline())
            with openai.OpenAI(base_url=f"{found[0]}/v1", api_key="none", max_retries=0, timeout=600) as client:
                yield client
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == 0
        finally:
            server.kill()


@pytest.fixture(scope="module")
def theirs(weights: Path, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    folder, tokenizer = tmp_path_factory.mktemp("llama"), TextTokenizer.load(weights)
    tokenizer.files.write(folder / "tokenizer")
    export_model(run, ExportConfig(out=folder / "exported", format="gguf", tokenizer=folder / "tokenizer"))
    model = LlamaCpp(folder / "exported" / "model.gguf", letter=int(tokenizer.encode("a")[0]), context=5000)
    with openai.OpenAI(base_url=f"{model.address}/v1", api_key="none", max_retries=0, timeout=600) as client:
        yield client


def _reply(client: openai.OpenAI, question: str, **options: Any) -> Any:
    [model] = client.models.list().data
    return client.chat.completions.create(
        model=model.id,
        messages=[{"role": "user", "content": question}],
        **{"temperature": 0, "max_tokens": _TOKENS, "logprobs": True, "top_logprobs": 1, **options},
    )


def test_ten_questions_are_answered_right_and_with_the_tokens_of_llama_cpp(
    ours: openai.OpenAI, theirs: openai.OpenAI
) -> None:
    right, equal = 0, 0
    for question, answer in _QUESTIONS.items():
        found, expected = (_reply(client, question) for client in (ours, theirs))
        texts = [reply.choices[0].message.content for reply in (found, expected)]
        tokens = [[one.token for one in reply.choices[0].logprobs.content] for reply in (found, expected)]
        right += all(answer in text for text in texts)
        equal += texts[0] == texts[1]
        print(f"{texts[0]!r}" + ("" if texts[0] == texts[1] else f"; llama.cpp: {texts[1]!r}"))
        assert found.usage.prompt_tokens == expected.usage.prompt_tokens
        assert len(tokens[0]) == found.usage.completion_tokens
    print(f"{right} of {len(_QUESTIONS)} right in both, {equal} equal")
    assert right == len(_QUESTIONS)
    assert equal >= len(_QUESTIONS) - 1


def test_a_reply_in_pieces_and_a_reply_of_a_schema(ours: openai.OpenAI) -> None:
    question = "What is the capital of Japan?"
    pieces = _reply(ours, question, stream=True)
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
    assert text == _reply(ours, question).choices[0].message.content
    properties = {"city": {"type": "string"}, "country": {"enum": ["Japan", "France"]}}
    schema = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}
    found = _reply(ours, f"{question} Answer in JSON.", response_format=form)
    value = json.loads(found.choices[0].message.content)
    assert (list(value), type(value["city"]), value["country"]) == (["city", "country"], str, "Japan")


def test_needles_are_found_as_often_as_by_llama_cpp(
    ours: openai.OpenAI, theirs: openai.OpenAI, run: Path, tmp_path: Path
) -> None:
    tokenizer = TextTokenizer.load(run / TEXT_TOKENIZER)
    haystack = Haystack(story(1, 120), tokenizer)
    config = NeedleConfig(lengths=(600, 1500, 4000), depths=3, rounds=2)
    for name, client in {"longreel": ours, "llama.cpp": theirs}.items():
        samples = needle_samples(config, haystack, Budget(tokenizer, 4000, 1, 64))
        summary = run_suite("needle", samples, Endpoint(str(client.base_url)), tmp_path / name)
        print(name, [(cell["length"], cell["depth"], cell["score"]) for cell in summary["cells"]])
        assert summary["all"]["refused"] == 0
    [whole, _] = compare(read_results(tmp_path / "longreel"), read_results(tmp_path / "llama.cpp"))
    print(whole)
    assert whole["low"] <= 0 <= whole["high"]
