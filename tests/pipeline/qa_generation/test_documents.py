from __future__ import annotations

from dataclasses import replace

from pipeline.qa_generation.chunks import Chunk
from pipeline.qa_generation.documents import QaDocument, join
from pipeline.qa_generation.pairs import Pair
from pipeline.text.qa import Turn

CHUNKS = [Chunk(n, 10 * n, 10 * n + 10, f"chunk {n}.\n ", 100) for n in range(6)]
PAIR = Pair(
    book="b",
    chunk=0,
    chunk_span=(0, 10),
    task="fact",
    model="m",
    prompt_sha256="p",
    question="q?",
    answer="a",
    answer_span=(1, 2),
    rejection=None,
)


def about(*chunks: int) -> list[Pair]:
    return [replace(PAIR, chunk=n, question=f"q{n}?", answer=f"a{n}") for n in chunks]


def roles(document: QaDocument, depths: tuple[float, ...]) -> str:
    turns = document.turns(depths)
    return " ".join(turn.text[6] if turn.role == "context" else turn.text for turn in turns)


def test_neighbouring_chunks_are_joined_up_to_the_limit() -> None:
    documents = list(join(CHUNKS, about(0, 1, 5), words=250))
    assert [[chunk.number for chunk in document.chunks] for document in documents] == [[0, 1], [4, 5]]
    assert [[pair.chunk for pair in document.pairs] for document in documents] == [[0, 1], [5]]


def test_a_chunk_beyond_the_limit_is_a_document_of_its_own() -> None:
    assert [len(document.chunks) for document in join(CHUNKS, about(2), words=1)] == [1]


def test_questions_are_at_the_end_by_default() -> None:
    assert roles(QaDocument(tuple(CHUNKS[:3]), tuple(about(0, 2))), (1.0,)) == "0 1 2 q0? a0 q2? a2"


def test_a_question_is_asked_at_the_first_depth_behind_its_chunk() -> None:
    document = QaDocument(tuple(CHUNKS[2:6]), tuple(about(2, 4, 5)))
    assert roles(document, (0.25, 0.5, 1.0)) == "2 q2? a2 3 4 5 q4? a4 q5? a5"


def test_text_is_kept_as_it_is() -> None:
    document = QaDocument((Chunk(0, 0, 3, "Ü\n ", 1),), tuple(about(0)))
    assert document.turns((1.0,))[0] == Turn("context", "Ü\n ")
