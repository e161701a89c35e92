from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import ConfigError, VocabularyMismatch
from schemas.vocab import Vocabulary


def vocabulary(**changes: object) -> Vocabulary:
    values: dict[str, object] = {
        "text_size": 300,
        "codebook_size": 1024,
        "bos_id": 1,
        "eos_id": 2,
        "begin_vision": (3,),
        "end_vision": (4,),
        "text_sha256": "a" * 64,
        "vision_sha256": "b" * 64,
    }
    return Vocabulary(**(values | changes))  # type: ignore[arg-type]


@given(st.lists(st.integers(0, 300 + 1024 + 1), max_size=50))
@settings(deadline=None)
def test_lwm_numbering_converts_both_ways(ids: list[int]) -> None:
    v = vocabulary()
    tokens = np.array(ids, v.dtype)
    lwm, vision = v.to_lwm(tokens)
    assert np.array_equal(v.from_lwm(lwm, vision), tokens)
    assert np.array_equal(vision, tokens >= 300)


def test_lwm_numbers_end_of_frame_and_of_vision_after_its_8192_codes() -> None:
    v = vocabulary(codebook_size=8192)
    ids, vision = v.to_lwm(np.array([v.eof, v.eov]))
    assert ids.tolist() == [8192, 8193]
    assert vision.all()


def test_an_lwm_id_outside_its_table_is_refused() -> None:
    with pytest.raises(ConfigError, match="LWM id 300 is out of range: text ids must be below 300"):
        vocabulary().from_lwm(np.array([300]), np.array([False]))


def test_tokens_take_two_bytes_up_to_65536_ids_and_four_beyond() -> None:
    assert vocabulary(text_size=65536 - 1026).dtype == np.uint16
    assert vocabulary(text_size=65536 - 1025).dtype == np.uint32


def test_a_dictionary_gives_the_same_vocabulary_back() -> None:
    v = vocabulary(begin_vision=(7, 8))
    assert Vocabulary.from_dict(v.to_dict()) == v


def test_a_mismatch_names_what_differs_and_nothing_else() -> None:
    with pytest.raises(VocabularyMismatch) as e:
        vocabulary().require_same(vocabulary(codebook_size=8192, vision_sha256="c" * 64), ours="A", theirs="B")
    assert "codebook_size: A has 1024, B has 8192" in str(e.value)
    assert "vision_sha256" in str(e.value)
    assert "text_sha256" not in str(e.value)


@pytest.mark.parametrize("change", [{"text_size": 0}, {"bos_id": 300}, {"begin_vision": ()}, {"end_vision": (-1,)}])
def test_an_impossible_vocabulary_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        vocabulary(**change)
