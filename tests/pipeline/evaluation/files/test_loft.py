"""LOFT's folders become questions with the corpus in the prompt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.evaluation.files.loft import loft_samples
from pipeline.evaluation.sample import Sample
from pipeline.evaluation.scorers import score
from schemas.errors import ConfigError


def samples(folder: Path, *queries: dict[str, Any], limit: int | None = None) -> list[Sample]:
    corpus = [{"pid": f"doc{n}", "title_text": f"Title {n}", "passage_text": f"Passage {n}."} for n in range(3)]
    for name, rows in (("corpus", corpus), ("test_queries", queries)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return list(loft_samples(folder, limit=limit))


def query(answers: list[Any], **more: Any) -> dict[str, Any]:
    return {"qid": "q1", "query_text": "which?", "answers": answers} | more


def test_retrieval_asks_for_the_numbers_of_documents(tmp_path: Path) -> None:
    (sample,) = samples(tmp_path, query([["doc2", 1], ["doc0", 1]]))
    prompt = sample.request.messages[0].text
    assert "ID: 2 | TITLE: Title 2 | CONTENT: Passage 2. | END ID: 2" in prompt
    assert prompt.endswith("Question: which?")
    assert score(sample.scorer, "So:\nFinal Answer: [0, 2]", sample.references) == 1
    assert score(sample.scorer, "Final Answer: [0, 1]", sample.references) == 0


def test_texts_are_answers_of_which_one_or_all_are_asked(tmp_path: Path) -> None:
    one, several = samples(
        tmp_path, query(["Spain", "Taino"]), query(["Spain", "Peru"], qid="q2", metadata={"is_multi_value": True})
    )
    assert score(one.scorer, "Final Answer: [the Taino]", one.references) == 1
    assert score(several.scorer, "Final Answer: [Spain]", several.references) == 0
    assert score(several.scorer, "Final Answer: [Peru, Spain]", several.references) == 1


def test_the_number_of_questions_can_be_limited(tmp_path: Path) -> None:
    assert len(samples(tmp_path, *(query(["x"], qid=str(n)) for n in range(5)), limit=2)) == 2


def test_what_does_not_fit_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"asks for the document 'doc9', which is not in corpus.jsonl"):
        samples(tmp_path, query([["doc9", 1]]))
    with pytest.raises(ConfigError, match="several turns"):
        samples(tmp_path, query(["x"], query_text=["a", "b"]))
    with pytest.raises(ConfigError, match=r"row 1 of .*test_queries.jsonl has no answers"):
        samples(tmp_path, {"qid": "1", "query_text": "?"})
    with pytest.raises(ConfigError, match=r"corpus.jsonl"):
        list(loft_samples(tmp_path / "nowhere"))
