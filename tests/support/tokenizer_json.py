"""Small tokenizer.json files for tests, of the kinds that published models have."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_PUNCTUATION = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|" + _PUNCTUATION
_QWEN2 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|" + _PUNCTUATION
_O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+" + _CONTRACTIONS + "?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*" + _CONTRACTIONS + "?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_DEEPSEEK = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一가-퟿]+")
_ALPHABET = pre_tokenizers.ByteLevel.alphabet()


def _splits(*patterns: str, digits: bool = False) -> pre_tokenizers.PreTokenizer:
    parts: list[Any] = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    parts += [pre_tokenizers.Digits(individual_digits=True)] if digits else []
    return pre_tokenizers.Sequence([*parts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not patterns)])


_SPLITTERS = {
    "gpt2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm": _splits(digits=True),
    "llama3": _splits(_LLAMA3),
    "qwen2": _splits(_QWEN2),
    "o200k": _splits(_O200K),
    "deepseek": _splits(*_DEEPSEEK, digits=True),
}
KINDS = (*_SPLITTERS, "llama2", "metaspace")


def tokenizer_json(kind: str, corpus: Iterable[str], *, size: int = 1000) -> Tokenizer:
    """Train a tokenizer of a kind in KINDS with the special tokens SPECIAL."""
    if kind in _SPLITTERS:
        tokenizer, alphabet = Tokenizer(models.BPE(ignore_merges=kind == "llama3")), _ALPHABET
        tokenizer.pre_tokenizer, tokenizer.decoder = _SPLITTERS[kind], decoders.ByteLevel()
        tokenizer.normalizer = normalizers.NFC() if kind == "qwen2" else None
        special = [*SPECIAL]
    else:
        tokenizer, alphabet = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True)), []
        special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *SPECIAL]
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    # Without words, merges would cross spaces, which those of LLaMA do not.
    texts = corpus if kind in _SPLITTERS else (word for text in corpus for word in text.split())
    tokenizer.train_from_iterator(texts, trainer)
    if kind not in _SPLITTERS:
        tokenizer = _llama(tokenizer, metaspace=kind == "metaspace")
    return tokenizer


def _llama(trained: Tokenizer, *, metaspace: bool) -> Tokenizer:
    """Return the tokenizer with bytes as ordinary tokens, as in published files."""
    values = json.loads(trained.to_str())
    values["added_tokens"] = [t for t in values["added_tokens"] if not t["content"].startswith("<0x")]
    tokenizer = Tokenizer.from_str(json.dumps(values))
    if metaspace:
        tokenizer.normalizer = normalizers.Sequence([])
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path, *, config: dict[str, Any] | None = None) -> Path:
    """Write a published model's tokenizer files to `folder`; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    is_llama = tokenizer.token_to_id("</s>") is not None
    bos, eos = ("<s>", "</s>") if is_llama else ("<|im_start|>", "<|im_end|>")
    names = {"bos_token": bos, "eos_token": {"content": eos, "lstrip": False}}
    (folder / "tokenizer_config.json").write_text(json.dumps(names | (config or {})))
    return folder


def with_added(tokenizer: Tokenizer, contents: Iterable[str], *, special: bool) -> Tokenizer:
    """Add tokens to a tokenizer; returns it."""
    tokenizer.add_tokens([AddedToken(content, special=special, normalized=False) for content in contents])
    return tokenizer
