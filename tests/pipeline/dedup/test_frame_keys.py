"""Hash keys of frames: what they ignore, and how they spread."""

from __future__ import annotations

import numpy as np

from pipeline.dedup.frame_keys import VIEWS, _least_certain, _signs, _subsets, _views, bits_for, sign_keys
from pipeline.dedup.video_similarity import VideoSimilarity
from pipeline.dedup.window import normalized
from pipeline.video.analysis.frame_signature import SIDE, signature_pictures
from tests.support.inputs.edited_frames import barred, globe
from tests.support.signatures import scene, signature

VIDEO = VideoSimilarity()


def test_keys_ignore_brightness_and_spread_evenly() -> None:
    rng = np.random.default_rng(0)
    fall = 1 / np.maximum(1, np.hypot(*np.mgrid[:SIDE, :SIDE]))
    angle = np.pi * np.outer(np.arange(SIDE), np.arange(SIDE) + 0.5) / SIDE
    made = np.cos(angle).T @ (rng.normal(size=(2000, SIDE, SIDE)) * fall) @ np.cos(angle)  # as in real pictures
    pictures = np.clip(128 + 20 * made, 0, 255).astype(np.uint8)
    keys = sign_keys(pictures, tables=4, bits=28)
    darker = sign_keys(pictures // 2 + 20, tables=4, bits=28)
    distinct = [np.unique(some) for some in keys]
    assert np.mean([np.isin(some, other).mean() for some, other in zip(distinct, darker, strict=True)]) > 0.5
    _, counts = np.unique(np.sort(keys, axis=1)[:, 0], return_counts=True)
    assert len(np.unique(keys)) > 0.8 * sum(map(len, distinct))
    assert counts.max() < 8


def test_the_keys_of_a_picture_do_not_depend_on_the_others() -> None:
    rng = np.random.default_rng(1)
    pictures = signature_pictures(signature("", [g for seed in range(60) for g in scene(seed, 1.5)]).samples)
    keys = sign_keys(pictures, tables=4, bits=35)
    order = rng.permutation(len(pictures))
    assert np.array_equal(sign_keys(pictures[order], tables=4, bits=35), keys[order])
    for cuts in (range(1, 180), [1, 4, 9, 73, 74, 150], [67]):
        parts = [sign_keys(part, tables=4, bits=35) for part in np.split(pictures, cuts)]
        assert np.array_equal(np.concatenate(parts), keys)


def test_a_key_is_the_signs_of_its_coefficients_without_and_with_the_least_certain_one_flipped() -> None:
    rng = np.random.default_rng(2)
    coefficients = rng.normal(size=(5, VIEWS, 48)).astype(np.float32).round(1)  # some are equal
    keys, flipped = _signs(coefficients, 3, 28), _least_certain(coefficients, 3, 28)
    for place in np.ndindex(5, VIEWS):
        for table, subset in enumerate(_subsets(3, 28)):
            chosen = coefficients[place][subset]
            expected = (table << 56) + sum(1 << bit for bit, value in enumerate(chosen) if value > 0)
            assert int(keys[*place, table]) == expected
            assert int(flipped[*place, table]) == 1 << int(np.abs(chosen).argmin())


def test_the_view_of_the_bright_area_ignores_black_bars() -> None:
    grays = globe(scene(3, 4))
    one, other = (
        signature_pictures(signature("", given).samples).astype(np.float32) for given in (grays, barred(grays))
    )
    views = zip(_views(one).swapaxes(0, 1), _views(other).swapaxes(0, 1), strict=True)
    correlations = [np.einsum("nc,nc->n", normalized(p), normalized(q)) for p, q in views]
    assert correlations[-1].min() > 0.9 > np.median(correlations[:-1], axis=1).max()


def test_an_empty_view_does_not_collide() -> None:
    one, other = scene(1, 0.5)[0], scene(2, 0.5)[0]
    for gray in (one, other):
        gray[12:52, 12:52] = 128
    a, b = (VIDEO.hash_keys(signature("", [gray])) for gray in (one, other))
    assert len(np.intersect1d(a, b)) == 0


def test_keys_get_longer_with_the_corpus() -> None:
    assert [bits_for(items, bits=28) for items in (0, 4096, 8192, 1 << 20, 1 << 40)] == [28, 28, 30, 40, 48]


def test_a_picture_and_its_mirror_image_have_keys_in_common() -> None:
    pictures = signature_pictures(signature("", [g for seed in range(40) for g in scene(seed, 0.5)]).samples)
    mirrored = np.ascontiguousarray(pictures[:, :, ::-1])
    keys, others = (sign_keys(some, tables=4, bits=28) for some in (pictures, mirrored))
    shared = [len(np.intersect1d(one, other)) for one, other in zip(keys, others, strict=True)]
    assert min(shared) >= 2 * VIDEO.tables
    noisy = np.clip(mirrored.astype(float) * 0.9 + np.random.default_rng(0).normal(8, 2, mirrored.shape), 0, 255)
    keys_noisy = sign_keys(noisy.astype(np.uint8), tables=4, bits=28)
    assert np.mean([len(np.intersect1d(a, b)) > 0 for a, b in zip(keys, keys_noisy, strict=True)]) > 0.9
