"""RULER's tasks as training data: its prompts, each followed by its answers."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.evaluation.haystack import Budget, Haystack
from pipeline.evaluation.ruler.samples import RulerConfig, ruler_samples
from pipeline.synthesis.item import SynthConfig, SyntheticDocument, token_count
from pipeline.text.qa import Turn
from schemas.counted import counted
from schemas.errors import ConfigError
from tokenizer.text.tokenizer import TextTokenizer

_LAYOUT_TOKENS = 16  # prefixes of question and answer, bos and eos


def ruler_documents(
    tasks: tuple[str, ...], synth: SynthConfig, haystack: Haystack | None, tokenizer: TextTokenizer
) -> Iterator[SyntheticDocument]:
    """Yield `synth.count` documents, in equal numbers of each task.

    Raises ConfigError if there are fewer documents than tasks, the length is too short, or a text is missing.
    """
    if synth.count < len(tasks):
        documents = counted(synth.count, "document")
        raise ConfigError(f"{documents} cannot have {len(tasks)} tasks: raise --count, or choose --tasks")
    for index, task in enumerate(tasks):
        samples = synth.count // len(tasks) + (index < synth.count % len(tasks))
        config = RulerConfig(tasks=(task,), lengths=(synth.length,), samples=samples, seed=synth.seed)
        budget = Budget(tokenizer, synth.length, 1, _LAYOUT_TOKENS)
        for sample in ruler_samples(config, haystack, budget):
            turns = [
                Turn("question", sample.request.messages[-1].text),
                Turn("answer", ", ".join(sample.references)),
            ]
            if (count := token_count(turns, tokenizer)) > synth.length:
                raise ConfigError(
                    f"a document of {task} has {count:,} tokens, more than --length {synth.length:,}: its answer is "
                    "longer in this tokenizer than RULER reserves"
                )
            yield SyntheticDocument(turns, {"ruler_task": task})
