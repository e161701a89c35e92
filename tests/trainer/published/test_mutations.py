"""Damages files of every format at random: reading them works, or is one clear error; nothing runs, nothing hangs."""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import ConfigError
from tests.support.mutations import mutate
from tests.support.published import models
from tests.support.published.models import random_state, tiny
from tests.support.vqgan.hostile_files import CREATED
from trainer.published.plan import pieces
from trainer.published.source import open_source

_CONFIG = tiny(kv_heads=4)
_LIMIT_S = 5.0  # of one file; reading an intact one takes a few milliseconds


def _write(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Write a model in every format; return the files to damage of each source."""
    state = random_state(_CONFIG)
    hf = models.write_hf(folder / "hf", _CONFIG, state)
    shards = models.write_hf(folder / "shards", _CONFIG, state, shards=2)
    torch = models.write_torch(folder / "torch", _CONFIG, state)
    meta = models.write_meta(folder / "meta", _CONFIG, state)
    gguf = models.write_gguf(folder / "m.gguf", _CONFIG, state)
    tree = models.lwm_tree(_CONFIG, state)
    stream, flax = models.write_stream(folder / "stream", tree), models.write_flax(folder / "flax", tree)
    return {
        str(hf): (hf / "model.safetensors", hf / "config.json"),
        str(shards): (shards / "model.safetensors.index.json", shards / "model-00001-of-00002.safetensors"),
        str(torch): (torch / "pytorch_model.bin",),
        str(meta): (meta / "consolidated.01.pth", meta / "params.json"),
        str(gguf): (gguf,),
        f"params::{stream}": (stream,),
        f"flax_params::{flax}": (flax,),
    }


def _read(source: str) -> str:
    """Read a whole source; return the message of its error, "" if there is none."""
    try:
        found = open_source(source, heads=4)
        for piece in pieces(found, text_size=models.TEXT_SIZE, vision_size=models.VISION_SIZE):
            piece.tensor.rows(0, piece.tensor.shape[0])
    except ConfigError as e:
        return str(e) or "empty"
    return ""


def _campaign(folder: Path, seeds: range) -> Iterator[tuple[Path, str]]:
    for source, files in _write(folder).items():
        assert _read(source) == "", source
        for path in files:
            whole = path.read_bytes()
            for seed in seeds:
                path.unlink()
                path.write_bytes(mutate(whole, seed))
                started = time.perf_counter()
                message = _read(source)
                assert time.perf_counter() - started < _LIMIT_S, (path, seed)
                yield path, message
            path.write_bytes(whole)


def _run(folder: Path, monkeypatch: pytest.MonkeyPatch, *, seeds: range) -> None:
    monkeypatch.chdir(folder)
    shutil.rmtree(folder / "x", ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    results = list(_campaign(folder, seeds))
    rejected = [(path, message) for path, message in results if message]
    assert len(rejected) > len(results) / 4
    for path, message in rejected:
        assert str(folder) in message, (path, message)
        assert "Traceback" not in message
    assert not CREATED.exists()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KB


def test_a_few_damaged_files_of_every_format_are_read_or_are_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(tmp_path, monkeypatch, seeds=range(18))


@pytest.mark.faults
def test_thousands_of_damaged_files_of_every_format_are_read_or_are_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(tmp_path, monkeypatch, seeds=range(1000))
