"""How full sequences become and how many documents are cut, beside first fit and concatenation."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from packing_parts.apart import Row, apart, timed
from packing_parts.corpora import CORPORA, FRAME, VOCABULARY, Integers
from pipeline.packing.assign import DOCUMENTS, PIECES, Ranks, assign, unpack_table
from pipeline.packing.config import PackConfig
from pipeline.packing.length_counts import take_census
from pipeline.packing.mixture import Mixture
from pipeline.packing.pieces import Documents, documents_of
from pipeline.packing.plan import Plan, make_plan
from pipeline.packing.sentence_ends import Sentences
from pipeline.runtime.token_store import FACTS, TokenStore
from schemas.records import KINDS
from tokenizer.text.sentencepiece import TextTokenizer

CONTEXTS = (4096, 8192, 32768, 131072, 1048576)


@dataclass(frozen=True)
class Corpus:
    """Where documents come from: made up, by name, or the token store of the workspace `real`, `epochs` times."""

    name: str
    documents: int
    real: Path | None = None
    epochs: int = 1

    def table(self) -> pa.Table:
        """Return its index rows, of the training split."""
        if self.real is None:
            return CORPORA[self.name](np.random.default_rng(0), self.documents)
        rows = TokenStore(self.real / "tokens").rows()
        return rows.filter(pa.compute.equal(rows["split"], "train"))

    def config(self, **options: Any) -> PackConfig:
        """Return how it is packed."""
        return PackConfig(mixture=Mixture(kind_epochs=dict.fromkeys(KINDS, float(self.epochs))), **options)


def sample_workspace(folder: Path) -> Path:
    """Return a workspace with the sample material tokenized; make it where it is not there yet."""
    made = folder / "work"
    if not (made / "tokens" / FACTS).is_file():
        manifest = folder / "samples" / "manifest.jsonl"
        for command in (
            ("samples", "--out", folder / "samples"),
            ("survey", manifest, "--out", made),
            ("select", "--out", made),
            ("tokenize", "--out", made),
        ):
            subprocess.run([sys.executable, "-m", "longreel", *map(str, command)], check=True)
    return made


def fill(workspace: Path | None, names: Collection[str], documents: int, grain_tokens: int) -> list[Row]:
    corpora = [Corpus(name, documents) for name in CORPORA if name in names]
    if workspace is None:
        print("fill: no --workspace is given, so real books and clips are left out")
    else:
        real = sample_workspace(workspace)
        corpora += [
            corpus for corpus in (Corpus("real", 0, real), Corpus("real x1000", 0, real, 1000)) if corpus.name in names
        ]  # 1000 epochs: the sample is small
    print(f"\n{'fill':<12}{'context':>9}{'documents':>10}{'sequences':>11}{'fill':>10}{'bound':>10}{'of bound':>10}"
          f"{'reach':>10}{'of bound':>10}{'plan':>8}{'peak':>9}{'longer':>9}{'cut':>9}{'cut, concat':>12}"
          f"{'Grain':>9}{'bins':>6}")  # fmt: skip
    results = []
    for corpus in corpora:
        for context in CONTEXTS:
            ours = apart(measure, corpus, context)
            row = {"corpus": corpus.name, "context": context, "peak": ours.rss} | ours.result
            others = apart(first_fit, corpus, context, grain_tokens)
            row |= {"grain_peak": others.rss} | others.result
            results.append(row)
            reach = f"{row['reach_fill']:>10.4%}{row['reach_of_bound']:>10.4%}" if "reach_fill" in row else " " * 20
            print(f"{corpus.name:<12}{context:>9,}{row['documents']:>10,}{row['sequences']:>11,}{row['fill']:>10.4%}"
                  f"{row['bound']:>10.4%}{row['of_bound']:>10.4%}{reach}{row['plan_cpu_s']:>6.1f} s"
                  f"{row['peak'] / 1e6:>6.0f} MB{row['longer']:>9,}{row['cut']:>9,}{row['concat_cut']:>12,}"
                  f"{row['grain_fill']:>9.2%}{row['grain_bins']:>6,}", flush=True)  # fmt: skip
            if row.get("cuts"):
                print(f"{'':<21}cuts of books at the end of a sentence: {row['cuts_at_sentences']:.1%} of "
                      f"{row['cuts']:,}, without reach {row['cuts_at_sentences_anywhere']:.1%}")  # fmt: skip
    return results


def measure(corpus: Corpus, context: int) -> Row:
    """Plan and assign one corpus at one context, as one unit; the documents' order is made twice, as in the job."""
    table, row = corpus.table(), Row()
    with timed(row, "plan"):
        documents_of(table)
        documents = documents_of(table)
        plan, pieces = planned(documents, corpus.config(sentence_reach=0.0), context)
    part = plan.splits["train"]
    lengths = whole_lengths(documents, plan)
    ends = np.cumsum(lengths[np.random.default_rng(0).permutation(len(lengths))])
    before = np.concatenate([[0], ends[:-1]])
    row |= {
        "documents": part.documents,
        "out": sum(plan.out.values()),
        "tokens": part.tokens,
        "sequences": part.sequences,
        "fewest": part.fewest,
        "fill": plan.fill("train"),
        "bound": plan.best_fill("train"),
        "of_bound": part.fewest / part.sequences,
        "longer": int(np.sum(lengths > context)),
        "cut": len({(d, c) for d, c, start in pieces if start}),
        "concat_cut": int(np.sum(before // context != (ends - 1) // context)),
        "concat_fill": int(ends[-1]) / (-(-int(ends[-1]) // context) * context),
    }
    if len(part.recipe.texts.lengths):
        row |= with_reach(corpus, documents, context, pieces)
    return row


def planned(
    documents: Documents, config: PackConfig, context: int, *open_store: Any
) -> tuple[Plan, list[tuple[str, int, int]]]:
    """Return the plan, and (document, copy, start) of every piece."""
    options: dict[str, Any] = {"context_length": context, "text_factor": 1.0, "seed": config.seed}
    census = take_census(documents, config.mixture, **options)
    plan = make_plan(census, config, context_length=context, vocabulary=VOCABULARY)
    start = Ranks().start(0, census.splits)
    store, sentences = open_store or (None, None)
    parcels = list(assign(documents, plan, start, store, sentences))  # type: ignore[arg-type]
    pieces = []
    for _, parcel in parcels:
        table, ids = unpack_table(parcel.pieces, PIECES), unpack_table(parcel.documents, DOCUMENTS)["document_id"]
        columns = (ids.take(table["document"]), table["copy"], table["start"])
        pieces += list(zip(*(column.to_pylist() for column in columns), strict=True))
    return plan, pieces


def whole_lengths(documents: Documents, plan: Plan) -> Integers:
    """Return the lengths of all documents that go in, each as often as it does."""
    copies, _ = plan.config.mixture.copies(
        documents.table, documents.draw, context_length=plan.context_length, text_factor=1.0, seed=plan.config.seed
    )
    return np.repeat(documents.table["length"].to_numpy(), copies)


def with_reach(corpus: Corpus, documents: Documents, context: int, anywhere: list[tuple[str, int, int]]) -> Row:
    """Plan again with the default reach; of real books, see where the cuts are."""
    config = corpus.config()
    if corpus.real is None:  # there are no tokens: the plan alone
        options: dict[str, Any] = {"context_length": context, "text_factor": 1.0, "seed": config.seed}
        plan = make_plan(
            take_census(documents, config.mixture, **options), config, context_length=context, vocabulary=VOCABULARY
        )
        found: Row = {}
    else:
        store, text = TokenStore(corpus.real / "tokens"), TextTokenizer.load(corpus.real / "tokenizers" / "text.model")
        plan, pieces = planned(documents, config, context, store, Sentences(text))
        is_end = _sentence_ends(documents, store, text)
        cuts, plain = ([is_end(d, start) for d, _, start in some if start] for some in (pieces, anywhere))
        cuts, plain = ([cut for cut in some if cut is not None] for some in (cuts, plain))
        found = {"cuts": len(cuts), "cuts_at_sentences": float(np.mean(cuts)) if cuts else None}
        found |= {"cuts_at_sentences_anywhere": float(np.mean(plain)) if plain else None}
    part = plan.splits["train"]
    return found | {
        "reach_sequences": part.sequences,
        "reach_fill": plan.fill("train"),
        "reach_of_bound": part.fewest / part.sequences,
    }


def _sentence_ends(documents: Documents, store: TokenStore, text: TextTokenizer) -> Callable[[str, int], bool | None]:
    """Return a function that tells from the text itself whether a place in a book is the end of a sentence or line."""
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
    """Pack the corpus with Grain, as a loader does: documents in random order, `most` tokens of them at most."""
    import grain

    documents, row = documents_of(corpus.table()), Row()
    config = replace(corpus.config(), sentence_reach=0.0)
    copies, _ = config.mixture.copies(
        documents.table, documents.draw, context_length=context, text_factor=1.0, seed=config.seed
    )
    some = np.random.default_rng(0).permutation(np.repeat(np.arange(len(copies)), copies))
    lengths = documents.table["length"].to_numpy()[some]
    is_video = documents.table["frame_tokens"].to_numpy()[some] > 0
    pieces = cut(lengths, np.where(is_video & (lengths > context), context // FRAME * FRAME, context))
    pieces = pieces[: max(1, int(np.searchsorted(np.cumsum(pieces), most)))]
    bins = max(8, min(1000, most // 2 // context))
    nothing = np.zeros(context, np.uint16)
    source = grain.MapDataset.source(range(len(pieces))).map(lambda i: {"tokens": nothing[: pieces[i]]})
    packed = grain.experimental.FirstFitPackIterDataset(
        source.to_iter_dataset(grain.ReadOptions(num_threads=0)),
        length_struct={"tokens": context},
        num_packing_bins=bins,
    )
    with timed(row, "grain"):
        made = sum(1 for _ in packed)
    filled = int(pieces.sum()) / (made * context)
    return row | {"grain_fill": filled, "grain_bins": bins, "grain_sequences": made, "grain_tokens": int(pieces.sum())}


def cut(lengths: Integers, most: Integers) -> Integers:
    """Return the lengths of pieces of at most `most` [D]: all are that long, but for the last of each document."""
    counts = -(-lengths // most)
    pieces = np.repeat(most, counts)
    pieces[np.cumsum(counts) - 1] = lengths - (counts - 1) * most
    return pieces
