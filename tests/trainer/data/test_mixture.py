from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import pytest
import tyro

from schemas.errors import ConfigError
from schemas.storage.location import Location
from trainer.data.mixture import (
    DatasetOption,
    Mixture,
    MixtureOption,
    WeightedDataset,
    mixtures_of,
    parse_dataset,
    parse_mixture,
)


@pytest.mark.parametrize(
    ("text", "directory", "weight"),
    [
        ("videos:0.3", "videos", Fraction(3, 10)),
        ("/data/a:b:0.25", "/data/a:b", Fraction(1, 4)),
        ("packed:4096:1", "packed:4096", Fraction(1)),
        ("s3://bucket/set:.5", "s3://bucket/set", Fraction(1, 2)),
        ("gs://bucket/a:b:2e-1", "gs://bucket/a:b", Fraction(1, 5)),
        ("s3://bucket/set", "s3://bucket/set", None),
        ("/data/a:b", "/data/a:b", None),
        ("/data/2:30pm", "/data/2:30pm", None),
    ],
)
def test_a_number_after_the_last_colon_is_the_weight(text: str, directory: str, weight: Fraction | None) -> None:
    expected = Location.parse(directory)
    assert parse_dataset(text) == (expected if weight is None else WeightedDataset(expected, weight))


def test_the_spelling_of_a_dataset_and_of_a_mixture_is_read_back() -> None:
    for text in ("/data/a:0.3", "s3://bucket/set:2"):
        assert str(parse_dataset(text)) == text
    assert str(parse_mixture("100:0.30,.7")) == "100:0.3,0.7"
    third = WeightedDataset(Location.parse("/a"), Fraction("0.3333333333"))
    assert parse_dataset("/a:0.3333333333") == third
    assert str(third) == "/a:3333333333/10000000000"


@pytest.mark.parametrize("text", ["a:0", "a:-1", "a:+1", "a:1e99"])
def test_a_weight_that_is_not_positive_is_rejected(text: str) -> None:
    with pytest.raises(ConfigError, match="weight"):
        parse_dataset(text)


@pytest.mark.parametrize("text", ["0.5,0.5", "x:1", "0:a", "0:", "0:0,0", "0:1,-1", "-1:1", "0:1:2"])
def test_a_mixture_that_is_spelled_wrong_is_rejected(text: str) -> None:
    with pytest.raises(ConfigError, match="mixture|weight"):
        parse_mixture(text)


def test_weights_are_given_for_all_datasets_or_for_none_and_in_one_way() -> None:
    a, b = Location.parse("/a"), Location.parse("/b")
    weighted = [WeightedDataset(a, Fraction(1, 4)), WeightedDataset(b, Fraction(3, 4))]
    assert mixtures_of([a, b], ()) == ()
    assert mixtures_of(weighted, ()) == (Mixture(0, (Fraction(1, 4), Fraction(3, 4))),)
    over_time = [parse_mixture("0:1,0"), parse_mixture("10:0,1")]
    assert mixtures_of([a, b], over_time) == tuple(over_time)
    for datasets, mixtures, message in [
        ([weighted[0], b], [], "/b has none"),
        (weighted, over_time, "not both"),
        ([a], over_time, "has 2 weights for 1 datasets"),
        ([a, b], over_time[1:], "begin at step 0"),
        ([a, b], [*over_time, over_time[1]], "ascending"),
    ]:
        with pytest.raises(ConfigError, match=message):
            mixtures_of(datasets, mixtures)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class _Options:
    dataset: tuple[DatasetOption, ...]
    mixture: tuple[MixtureOption, ...] = ()


def test_the_command_line_reads_weights() -> None:
    line = "--dataset /a s3://bucket/b:c:0.5 --mixture 0:1,0 5:0.5,0.5"
    read = tyro.cli(_Options, args=line.split())
    assert read.dataset == (Location.parse("/a"), WeightedDataset(Location.parse("s3://bucket/b:c"), Fraction(1, 2)))
    assert read.mixture == (Mixture(0, (Fraction(1), Fraction(0))), Mixture(5, (Fraction(1, 2), Fraction(1, 2))))
