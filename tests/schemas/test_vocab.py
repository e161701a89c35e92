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
def test_from_lwm_is_the_inverse_of_to_lwm(ids: list[int]) -> None:
    v = vocabulary()
    tokens = np.array(ids, v.dtype)
    lwm, vision = v.to_lwm(tokens)
    assert np.array_equal(v.from_lwm(lwm, vision), tokens)
    assert np.array_equal(vision, tokens >= 300)


def test_the_lwm_ids_of_eof_and_eov_follow_the_8192_codes() -> None:
    v = vocabulary(codebook_size=8192)
    ids, vision = v.to_lwm(np.array([v.eof, v.eov]))
    assert ids.tolist() == [8192, 8193]
    assert vision.all()


def test_an_lwm_id_out_of_range_is_rejected() -> None:
    with pytest.raises(ConfigError, match="LWM id 300 is out of range: text ids must be below 300"):
        vocabulary().from_lwm(np.array([300]), np.array([False]))


def test_tokens_are_uint16_up_to_65536_ids_and_uint32_beyond() -> None:
    assert vocabulary(text_size=65536 - 1026).dtype == np.uint16
    assert vocabulary(text_size=65536 - 1025).dtype == np.uint32


def test_from_dict_is_the_inverse_of_to_dict() -> None:
    v = vocabulary(begin_vision=(7, 8))
    assert Vocabulary.from_dict(v.to_dict()) == v


def test_the_error_for_a_mismatch_names_only_the_fields_that_differ() -> None:
    with pytest.raises(VocabularyMismatch) as e:
        vocabulary().require_same(vocabulary(codebook_size=8192, vision_sha256="c" * 64), ours="A", theirs="B")
    assert "codebook_size: A has 1024, B has 8192" in str(e.value)
    assert "vision_sha256" in str(e.value)
    assert "text_sha256" not in str(e.value)


@pytest.mark.parametrize("change", [{"text_size": 0}, {"bos_id": 300}, {"begin_vision": ()}, {"end_vision": (-1,)}])
def test_an_invalid_vocabulary_is_rejected(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        vocabulary(**change)
