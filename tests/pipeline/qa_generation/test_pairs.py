from __future__ import annotations

import json
from dataclasses import replace

from pipeline.qa_generation.filters import Rejection
from tests.pipeline.qa_generation.test_documents import PAIR


def test_a_pair_is_json_ready_and_its_provenance_has_no_text() -> None:
    values = json.loads(json.dumps(replace(PAIR, rejection=Rejection.DUPLICATE).to_dict()))
    assert (values["rejection"], values["answer_span"]) == ("duplicate", [1, 2])
    assert PAIR.provenance() == {
        "task": "fact",
        "model": "m",
        "prompt_sha256": "p",
        "chunk_span": (0, 10),
        "answer_span": (1, 2),
    }
