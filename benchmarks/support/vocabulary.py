"""Vocabularies of made-up tokens."""

from __future__ import annotations

from schemas.vocab import Vocabulary


def vocabulary(*, text_size: int, codebook_size: int) -> Vocabulary:
    """Return a vocabulary of these sizes, of no real tokenizers."""
    return Vocabulary(
        text_size=text_size,
        codebook_size=codebook_size,
        bos_id=1,
        eos_id=2,
        begin_vision=(3,),
        end_vision=(4,),
        text_sha256="0" * 64,
        vision_sha256="0" * 64,
    )
