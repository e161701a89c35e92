"""A dataset is a sequence of sequences, whose spans have names and whose tokens become text and frames again."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import longreel
from pipeline.api.dataset import Dataset, Part
from pipeline.runtime.workspace import Workspace
from schemas.errors import ConfigError, DatasetError, VocabularyMismatch
from tests.support.stages import Models, Reports

SPANS = ("start", "length", "document", "modality", "weight")


@pytest.fixture(scope="module")
def dataset(clips: tuple[Workspace, Reports]) -> Dataset:
    packed = next(iter(sorted((clips[0].root / "packed").local().iterdir())))
    return longreel.Dataset(packed)  # type: ignore[no-any-return]


def decoded(dataset: Dataset, index: int, models: Models) -> list[Part]:
    return dataset.decode(index, vision=models.vision, text_tokenizer=models.text)


def test_sequences_have_a_number_an_index_and_an_order(dataset: Dataset) -> None:
    keys = [sequence.key for sequence in dataset]
    assert len(keys) == len(dataset) == len(set(keys)) > 0
    assert dataset[-1].key == keys[-1] == dataset[-1:][0].key
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def test_spans_have_named_fields_that_cover_the_chunks(dataset: Dataset) -> None:
    sequence = dataset[0]
    assert sequence.spans.dtype.names == SPANS
    assert sequence.tokens.shape == (dataset.context_length,)
    assert sequence.spans["length"].sum() == sum(chunk.length for chunk in sequence.chunks)


def test_arrays_are_shifted_targets_with_their_weights(dataset: Dataset) -> None:
    arrays, sequence = pickle.loads(pickle.dumps(dataset.for_torch()))[0], dataset[0]  # noqa: S301 - our own bytes
    assert {values.shape for values in arrays.values()} == {(dataset.context_length,)}
    assert np.array_equal(arrays["targets"][:-1], sequence.tokens[1:])
    filled = int(sequence.spans["length"].sum())
    assert not arrays["segment_ids"][filled:].any()
    assert not arrays["weights"][filled - 1 :].any()
    assert arrays["weights"][: filled - 1].any()


def test_a_sequence_is_decoded_to_text_and_frames(dataset: Dataset, models: Models) -> None:
    parts = [part for i in range(len(dataset)) for part in decoded(dataset, i, models)]
    frames = [part.frames for part in parts if part.frames is not None]
    assert "caption" in "".join(part.text or "" for part in parts)
    assert all(found.ndim == 4 and found.shape[3] == 3 and found.dtype == np.uint8 for found in frames)
    assert frames


def test_another_tokenizer_than_that_of_the_dataset_is_refused(dataset: Dataset, models: Models) -> None:
    with pytest.raises(VocabularyMismatch, match="small-128"):
        [dataset.decode(i, text_tokenizer=models.text) for i in range(len(dataset))]
    with pytest.raises(ConfigError, match="text_tokenizer=FILE"):
        dataset.decode(0, vision=models.vision)


def test_what_is_absent_is_named(dataset: Dataset, clips: tuple[Workspace, Reports]) -> None:
    with pytest.raises(DatasetError, match="'test'"):
        longreel.Dataset(str(dataset._place), split="test")
    with pytest.raises((ConfigError, DatasetError)):
        longreel.Dataset(str(clips[0].root / "packed" / "1"))
