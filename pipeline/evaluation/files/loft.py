"""LOFT (arXiv 2406.13121): a corpus in the context, and questions about its documents, from its folders.

A folder has `corpus.jsonl` and queries. Answers are identifiers of documents (retrieval), or texts. The items have
LOFT's form, the wording around them is our own, and there are no worked examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from pipeline.evaluation.files.rows import Row, read_rows
from pipeline.evaluation.sample import Sample
from pipeline.language_models.chat import user_request
from schemas.errors import ConfigError

CORPUS = "corpus.jsonl"
_REPLY_TOKENS = 256
_RETRIEVAL = (
    "You are given documents, each with an ID. Find the documents that answer the question at the end. Reply with "
    "their IDs in a last line of this form: Final Answer: [1, 2]"
)
_TEXT = (
    "You are given documents. Answer the question at the end from them. Reply with the answers in a last line of this "
    "form: Final Answer: [first answer, second answer]"
)


def loft_samples(folder: Path, queries: str = "test_queries.jsonl", *, limit: int | None = None) -> Iterator[Sample]:
    """Yield the samples of a folder of LOFT, at most `limit`. Raises ConfigError for a folder that is none."""
    corpus = list(read_rows(folder / CORPUS, ("pid", "passage_text")))
    numbers = {str(row["pid"]): str(number) for number, row in enumerate(corpus)}
    documents = "\n".join(_document(number, row) for number, row in enumerate(corpus))
    for row in islice(read_rows(folder / queries, ("qid", "query_text", "answers")), limit):
        yield _sample(row, documents, numbers, folder.name)


def _sample(row: Row, documents: str, numbers: dict[str, str], task: str) -> Sample:
    answers: Sequence[object] = row["answers"]
    is_retrieval = bool(answers) and isinstance(answers[0], list)
    if not isinstance(row["query_text"], str):
        raise ConfigError(f"the query {row['qid']} has several turns, which are not supported")
    try:
        references = [numbers[str(answer[0])] for answer in answers if isinstance(answer, list)]
    except KeyError as e:
        raise ConfigError(f"the query {row['qid']} asks for the document {e}, which is not in {CORPUS}") from e
    several = len(answers) > 1 and bool(row.get("metadata", {}).get("is_multi_value"))
    prompt = f"{_RETRIEVAL if is_retrieval else _TEXT}\n\n{documents}\n\nQuestion: {row['query_text']}"
    return Sample(
        id=f"{task}/{row['qid']}",
        task=task,
        request=user_request(prompt, max_tokens=_REPLY_TOKENS),
        references=tuple(references) if is_retrieval else tuple(map(str, answers)),
        scorer="identifiers" if is_retrieval else "answers_contained" if several else "answer_contained",
    )


def _document(number: int, row: Row) -> str:
    title = row.get("title_text") or ""
    return f"ID: {number} | TITLE: {title} | CONTENT: {row['passage_text']} | END ID: {number}"
