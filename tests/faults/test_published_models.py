"""Damages the files of published models at random: reading them works, or is one clear error; nothing runs or hangs.

Bytes are damaged in every format; in JSON, and in the JSON header of safetensors, values are also replaced by others.
"""

from __future__ import annotations

import faulthandler
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.errors import InternalError, LongreelError
from schemas.weight_files.gguf import Value, read_header
from tests.faults.outcomes import Outcomes
from tests.support.mutations import mutate, mutate_json
from tests.support.published import models
from tests.support.published.checkpoints import imported
from tests.support.published.models import random_state, tiny
from tests.support.text_tokenizers import text_tokenizer
from tests.support.tokenizer_json import save, tokenizer_json
from tests.support.vqgan.hostile_files import CREATED
from tokenizer.text.tokenizer import TextTokenizer
from trainer.published.exporting import ExportConfig, export_model
from trainer.published.files.gguf_writer import write_gguf
from trainer.published.files.writers import Output
from trainer.published.plan import pieces
from trainer.published.source import open_source
from trainer.published.source_tokenizer import read_source_tokenizer

pytestmark = pytest.mark.slow

_CONFIG = tiny(kv_heads=4)
_CORPUS = ["In the beginning <vision> was the word </vision>, and 123 words more.\n"] * 9
_LIMIT_S = 20.0  # of processor time, for one file; reading an intact one takes some milliseconds
_HANG_S = 600.0  # without any result; the watchdog ends the process with a traceback
_MAX_KB = 300_000  # by which the memory of the process may grow
_Mutation = Callable[[bytes, int], bytes]


@dataclass(frozen=True, kw_only=True)
class _Case:
    """A file to damage, how, and what reads it."""

    name: str
    file: Path
    read: Callable[[], object]
    mutation: _Mutation = mutate


def _mutate_header(whole: bytes, seed: int) -> bytes:
    """Replace a value in the header of a safetensors file."""
    size = int.from_bytes(whole[:8], "little")
    header = mutate_json(whole[8 : 8 + size], seed)
    return len(header).to_bytes(8, "little") + header + whole[8 + size :]


_METADATA: tuple[Value, ...] = (True, 0, 1, 3, (1 << 32) - 1, 0.5, float("nan"), "", "x", [7], ["x"], [0.5])


def _mutate_metadata(whole: bytes, seed: int) -> bytes:
    """Replace a value of a GGUF file's metadata, or leave it out."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file.gguf")
        path.write_bytes(whole)
        header = read_header(path)
        metadata = dict(header.metadata)
        key = rng.choice([key for key in metadata if key not in ("general.architecture", "general.file_type")])
        del metadata[key]
        if rng.random() < 0.8:
            metadata[key] = rng.choice(_METADATA)
        outputs = [
            Output(name=name, shape=x.shape, blocks=partial(_zeros, x.shape)) for name, x in header.tensors.items()
        ]
        write_gguf(path, outputs, {k: v for k, v in metadata.items() if k != "general.file_type"}, dtype="float32")
        return path.read_bytes()


def _zeros(shape: tuple[int, ...]) -> Iterator[NDArray[np.float32]]:
    yield np.zeros(shape, np.float32)


def _cases(folder: Path) -> Iterator[_Case]:
    yield from _weights(folder)
    yield from _lwm(folder)
    yield from _tokenizers(folder)


def _weights(folder: Path) -> Iterator[_Case]:
    state = random_state(_CONFIG)
    hf = models.write_hf(folder / "hf", _CONFIG, state)
    shards = models.write_hf(folder / "shards", _CONFIG, state, shards=2)
    torch = models.write_torch(folder / "torch", _CONFIG, state)
    meta = models.write_meta(folder / "meta", _CONFIG, state)
    fused = folder / "fused"
    export_model(imported(hf, folder / "run", vision_size=8), ExportConfig(out=fused))
    for source, name, mutations in (
        (hf, "model.safetensors", (mutate, _mutate_header)),
        (hf, "config.json", (mutate, mutate_json)),
        (shards, "model.safetensors.index.json", (mutate, mutate_json)),
        (shards, "model-00001-of-00002.safetensors", (mutate, _mutate_header)),
        (fused, "vision_config.json", (mutate, mutate_json)),
        (torch, "pytorch_model.bin", (mutate,)),
        (meta, "consolidated.01.pth", (mutate,)),
        (meta, "params.json", (mutate, mutate_json)),
    ):
        for mutation in mutations:
            kind = f"{name}, {'bytes' if mutation is mutate else 'values'}"
            yield _Case(name=kind, file=source / name, read=_reader(str(source)), mutation=mutation)
    gguf = models.write_gguf(folder / "m.gguf", _CONFIG, state)
    for kind, mutation in (("bytes", mutate), ("values", _mutate_metadata)):
        yield _Case(name=f"GGUF, {kind}", file=gguf, read=_reader(str(gguf)), mutation=mutation)


def _lwm(folder: Path) -> Iterator[_Case]:
    tree = models.lwm_tree(_CONFIG, random_state(_CONFIG))
    stream, flax = models.write_stream(folder / "stream", tree), models.write_flax(folder / "flax", tree)
    yield _Case(name="msgpack, stream", file=stream, read=_reader(f"params::{stream}"))
    yield _Case(name="msgpack, tree", file=flax, read=_reader(f"flax_params::{flax}"))


def _tokenizers(folder: Path) -> Iterator[_Case]:
    source = models.write_hf(folder / "t", tiny(), random_state(tiny(), text_size=400))
    config = {"bos_token": "<|endoftext|>", "chat_template": "{{ x }}"}
    found = save(tokenizer_json("gpt2", _CORPUS, size=400), source, config=config)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        for kind, mutation in (("bytes", mutate), ("values", mutate_json)):
            yield _Case(name=f"{name}, {kind}", file=found / name, read=_loader(found), mutation=mutation)
    export_model(imported(source, folder / "of-t"), ExportConfig(out=folder / "gguf", format="gguf"))
    gguf = folder / "gguf" / "model.gguf"
    for kind, mutation in (("bytes", mutate), ("values", _mutate_metadata)):
        yield _Case(name=f"tokenizer in GGUF, {kind}", file=gguf, read=_loader(gguf), mutation=mutation)
    (folder / "sp").mkdir()
    text_tokenizer("llama", _CORPUS, folder / "sp" / "tokenizer.model")
    yield _Case(name="tokenizer.model", file=folder / "sp" / "tokenizer.model", read=_loader(folder / "sp"))


def _reader(source: str) -> Callable[[], object]:
    def read() -> object:
        found = open_source(source, heads=4)
        read_source_tokenizer(found)
        for piece in pieces(found, text_size=models.TEXT_SIZE, vision_size=models.VISION_SIZE):
            piece.tensor.rows(0, piece.tensor.shape[0])
        return None

    return read


def _loader(path: Path) -> Callable[[], object]:
    def read() -> object:
        loaded = TextTokenizer.load(path)
        return loaded.decode(loaded.encode("In the beginning, 123"))

    return read


def _damage(case: _Case, seeds: range) -> Outcomes:
    found, whole = Outcomes(f"published: {case.name}"), case.file.read_bytes()
    case.read()
    for seed in seeds:
        case.file.unlink()
        case.file.write_bytes(case.mutation(whole, seed))
        started = time.process_time()
        faulthandler.dump_traceback_later(_HANG_S, exit=True)
        try:
            case.read()
            found.unchanged += 1
        except InternalError as e:
            found.wrong.append(f"{case.name}, seed {seed}: {e!r:.300}")
        except LongreelError as e:
            _count(found, case, seed, str(e))
        except Exception as e:  # noqa: BLE001 - any other error is what the campaign looks for
            found.wrong.append(f"{case.name}, seed {seed}: {type(e).__name__} {e!s:.300}")
        if time.process_time() - started > _LIMIT_S:
            found.wrong.append(f"{case.name}, seed {seed}: took {time.process_time() - started:.0f} s")
    faulthandler.cancel_dump_traceback_later()
    case.file.write_bytes(whole)
    return found


def _count(found: Outcomes, case: _Case, seed: int, message: str) -> None:
    """Count an error, which has to name the file, or the folder that it is in."""
    if str(case.file.parent) in message and "Traceback" not in message:
        found.named += 1
    else:
        found.wrong.append(f"{case.name}, seed {seed}: {message:.300}")


def _run(folder: Path, monkeypatch: pytest.MonkeyPatch, results: list[Outcomes], *, seeds: range) -> None:
    monkeypatch.chdir(folder)
    cases = list(_cases(folder))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = [_damage(case, seeds) for case in cases]
    results += found
    assert [wrong for one in found for wrong in one.wrong] == []
    assert not CREATED.exists()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < _MAX_KB


def test_a_few_damaged_files_of_every_format_are_read_or_are_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, results: list[Outcomes]
) -> None:
    _run(tmp_path, monkeypatch, results, seeds=range(12))


@pytest.mark.faults
def test_thousands_of_damaged_files_of_every_format_are_read_or_are_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, results: list[Outcomes]
) -> None:
    _run(tmp_path, monkeypatch, results, seeds=range(1000))
