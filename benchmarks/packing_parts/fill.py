"""How full sequences become and how many documents are cut, compared with first fit and with concatenation."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from packing_parts.apart import Row, apart, timed
from packing_parts.corpora import CORPORA, FRAME, VOCABULARY, Integers
from pipeline.kinds.registry import kinds
from pipeline.packing.assign import CHUNKS, DOCUMENTS, RankCounter, assign, unpack_table
from pipeline.packing.chunks import Documents, documents_of
from pipeline.packing.config import PackConfig
from pipeline.packing.length_histograms import count_lengths
from pipeline.packing.mixture import Mixture
from pipeline.packing.plan import DatasetPlan, make_plan
from pipeline.packing.sentence_ends import SentenceEnds
from pipeline.runtime.token_store import FACTS, TokenStore
from tokenizer.text.tokenizer import TextTokenizer


@dataclass(frozen=True)
class Corpus:
    """A source of documents: generated ones by name, or the token store of the workspace `real`, `epochs` times."""

    name: str
    documents: int
    real: Path | None = None
    epochs: int = 1

    def table(self) -> pa.Table:
        """Return the index rows of the training split."""
        if self.real is None:
            return CORPORA[self.name](np.random.default_rng(0), self.documents)
        rows = TokenStore(self.real / "tokens").rows()
        return rows.filter(pa.compute.equal(rows["split"], "train"))

    def config(self, **options: Any) -> PackConfig:
        """Return the options that this corpus is packed with."""
        return PackConfig(mixture=Mixture(kind_epochs=dict.fromkeys(kinds(), float(self.epochs))), **options)


def sample_workspace(folder: Path) -> Path:
    """Return a workspace that holds the tokenized sample material; create it if it does not exist."""
    made = folder / "work"
    if not any(made.glob(f"tokens/*/{FACTS}")):
        manifest = folder / "samples" / "manifest.jsonl"
        for command in (
            ("samples", "--out", folder / "samples"),
            ("survey", manifest, "--out", made),
            ("select", "--out", made),
            ("tokenize", "--out", made),
        ):
            subprocess.run([sys.executable, "-m", "longreel", *map(str, command)], check=True)
    return made


def select_corpora(names: Collection[str], documents: int, samples: Path | None) -> list[Corpus]:
    """Return the corpora of these names; the real ones only if there is a folder for the sample material."""
    corpora = [Corpus(name, documents) for name in CORPORA if name in names]
    if samples is None:
        print("fill: real books and clips are not measured; give a folder for them with --samples")
        return corpora
    real = sample_workspace(samples)
    epochs = {"real": 1, "real x1000": 1000}  # the sample is small
    return corpora + [Corpus(name, 0, real, count) for name, count in epochs.items() if name in names]


def fill(corpora: Sequence[Corpus], contexts: Sequence[int], grain_tokens: int) -> list[Row]:
    """Pack each corpus at each context, and print and return the figures."""
    print(f"\n{'fill':<12}{'context':>9}{'documents':>10}{'sequences':>11}{'fill':>10}{'bound':>10}{'of bound':>10}"
          f"{'sentences':>10}{'of bound':>10}{'plan':>8}{'peak':>9}{'longer':>9}{'cut':>9}{'cut, concat':>12}"
          f"{'Grain':>9}{'bins':>6}")  # fmt: skip
    results = []
    for corpus in corpora:
        for context in contexts:
            ours = apart(measure, corpus, context)
            row = {"corpus": corpus.name, "context": context, "peak": ours.rss} | ours.result
            others = apart(first_fit, corpus, context, grain_tokens)
            row |= {"grain_peak": others.rss} | others.result
            results.append(row)
            reach = (
                f"{row['sentence_fill']:>10.4%}{row['sentence_of_bound']:>10.4%}"
                if "sentence_fill" in row
                else " " * 20
            )
            print(f"{corpus.name:<12}{context:>9,}{row['documents']:>10,}{row['sequences']:>11,}{row['fill']:>10.4%}"
                  f"{row['bound']:>10.4%}{row['of_bound']:>10.4%}{reach}{row['plan_cpu_s']:>6.1f} s"
                  f"{row['peak'] / 1e6:>6.0f} MB{row['longer']:>9,}{row['cut']:>9,}{row['concat_cut']:>12,}"
                  f"{row['grain_fill']:>9.2%}{row['grain_bins']:>6,}", flush=True)  # fmt: skip
            if row.get("cuts"):
                print(f"{'':<21}cuts of books at a sentence end: {row['cuts_at_sentences']:.1%} of "
                      f"{row['cuts']:,}; {row['cuts_at_sentences_anywhere']:.1%} if cut anywhere")  # fmt: skip
    return results


def measure(corpus: Corpus, context: int) -> Row:
    """Plan and assign one corpus at one context as one unit; documents are ordered twice, as in the job."""
    table, row = corpus.table(), Row()
    with timed(row, "plan"):
        documents_of(table)
        documents = documents_of(table)
        plan, chunks = planned(documents, corpus.config(sentence_reach=0.0), context)
    part = plan.splits["train"]
    lengths = whole_lengths(documents, plan)
    ends = np.cumsum(lengths[np.random.default_rng(0).permutation(len(lengths))])
    before = np.concatenate([[0], ends[:-1]])
    row |= {
        "documents": part.documents,
        "out": sum(plan.excluded.values()),
        "tokens": part.tokens,
        "sequences": part.sequences,
        "fewest": part.min_sequences,
        "fill": plan.fill("train"),
        "bound": plan.best_fill("train"),
        "of_bound": part.min_sequences / part.sequences,
        "longer": int(np.sum(lengths > context)),
        "cut": len({(d, c) for d, c, start in chunks if start}),
        "concat_cut": int(np.sum(before // context != (ends - 1) // context)),
        "concat_fill": int(ends[-1]) / (-(-int(ends[-1]) // context) * context),
    }
    if len(part.packing.texts.lengths):
        row |= at_sentence_ends(corpus, documents, context, chunks)
    return row


def planned(
    documents: Documents, config: PackConfig, context: int, *open_store: Any
) -> tuple[DatasetPlan, list[tuple[str, int, int]]]:
    """Return the plan, and (document, copy, start) of every chunk."""
    options: dict[str, Any] = {"context_length": context, "text_factor": 1.0, "seed": config.seed}
    histograms = count_lengths(documents, config.mixture, **options)
    plan = make_plan(histograms, config, context_length=context, vocabulary=VOCABULARY)
    start = RankCounter().start(0, histograms.splits)
    store, sentences = open_store or (None, None)
    shard_inputs = list(assign(documents, plan, start, store, sentences))  # type: ignore[arg-type]
    chunks = []
    for _, shard_input in shard_inputs:
        table, ids = (
            unpack_table(shard_input.chunks, CHUNKS),
            unpack_table(shard_input.documents, DOCUMENTS)["document_id"],
        )
        columns = (ids.take(table["document"]), table["copy"], table["start"])
        chunks += list(zip(*(column.to_pylist() for column in columns), strict=True))
    return plan, chunks


def whole_lengths(documents: Documents, plan: DatasetPlan) -> Integers:
    """Return the lengths of all documents to pack, once for each epoch."""
    copies, _ = plan.config.mixture.copies(
        documents.table, documents.draw, context_length=plan.context_length, text_factor=1.0, seed=plan.config.seed
    )
    return np.repeat(documents.table["length"].to_numpy(), copies)


def at_sentence_ends(corpus: Corpus, documents: Documents, context: int, anywhere: list[tuple[str, int, int]]) -> Row:
    """Plan again with cuts at sentence ends; for real books, count the cuts that are at one."""
    config = corpus.config()
    if corpus.real is None:  # there are no tokens: the plan alone
        options: dict[str, Any] = {"context_length": context, "text_factor": 1.0, "seed": config.seed}
        plan = make_plan(
            count_lengths(documents, config.mixture, **options), config, context_length=context, vocabulary=VOCABULARY
        )
        found: Row = {}
    else:
        store, text = TokenStore(corpus.real / "tokens"), TextTokenizer.load(corpus.real / "tokenizers" / "text")
        plan, chunks = planned(documents, config, context, store, SentenceEnds(text))
        is_end = _sentence_ends(documents, store, text)
        cuts, plain = ([is_end(d, start) for d, _, start in some if start] for some in (chunks, anywhere))
        cuts, plain = ([cut for cut in some if cut is not None] for some in (cuts, plain))
        found = {"cuts": len(cuts), "cuts_at_sentences": float(np.mean(cuts)) if cuts else None}
        found |= {"cuts_at_sentences_anywhere": float(np.mean(plain)) if plain else None}
    part = plan.splits["train"]
    return found | {
        "sentence_sequences": part.sequences,
        "sentence_fill": plan.fill("train"),
        "sentence_of_bound": part.min_sequences / part.sequences,
    }


def _sentence_ends(documents: Documents, store: TokenStore, text: TextTokenizer) -> Callable[[str, int], bool | None]:
    """Return a function that reads the text to decide whether a position in a book is the end of a sentence or line."""
    columns = (documents.table[name].to_pylist() for name in ("document_id", "kind", "unit", "batch", "row"))
    books = {name: where for name, kind, *where in zip(*columns, strict=True) if kind == "book"}
    known: dict[tuple[str, int], bool] = {}

    def is_end(name: str, start: int) -> bool | None:
        if name not in books:
            return None
        if (name, start) not in known:
            first = max(1, start - 16)  # the first token is <bos>
            said = text.decode(store.read(*books[name], first, start - first))
            known[name, start] = said.endswith("\n") or said.rstrip(" \"'”’)]»").endswith((".", "!", "?"))
        return known[name, start]

    return is_end


def first_fit(corpus: Corpus, context: int, most: int) -> Row:
    """Pack the corpus with Grain, as a loader does: documents in random order, at most `most` tokens of them."""
    import grain

    documents, row = documents_of(corpus.table()), Row()
    config = replace(corpus.config(), sentence_reach=0.0)
    copies, _ = config.mixture.copies(
        documents.table, documents.draw, context_length=context, text_factor=1.0, seed=config.seed
    )
    some = np.random.default_rng(0).permutation(np.repeat(np.arange(len(copies)), copies))
    lengths = documents.table["length"].to_numpy()[some]
    is_video = documents.table["frame_tokens"].to_numpy()[some] > 0
    chunks = cut(lengths, np.where(is_video & (lengths > context), context // FRAME * FRAME, context))
    chunks = chunks[: max(1, int(np.searchsorted(np.cumsum(chunks), most)))]
    bins = max(8, min(1000, most // 2 // context))
    nothing = np.zeros(context, np.uint16)
    source = grain.MapDataset.source(range(len(chunks))).map(lambda i: {"tokens": nothing[: chunks[i]]})
    packed = grain.experimental.FirstFitPackIterDataset(
        source.to_iter_dataset(grain.ReadOptions(num_threads=0)),
        length_struct={"tokens": context},
        num_packing_bins=bins,
    )
    with timed(row, "grain"):
        made = sum(1 for _ in packed)
    filled = int(chunks.sum()) / (made * context)
    return row | {"grain_fill": filled, "grain_bins": bins, "grain_sequences": made, "grain_tokens": int(chunks.sum())}


def cut(lengths: Integers, most: Integers) -> Integers:
    """Split documents into chunks of `most` [D] tokens, the last of each possibly shorter; return the lengths."""
    counts = -(-lengths // most)
    chunks = np.repeat(most, counts)
    chunks[np.cumsum(counts) - 1] = lengths - (counts - 1) * most
    return chunks
