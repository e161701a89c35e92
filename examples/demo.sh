#!/usr/bin/env bash
# Runs the whole pipeline on sample material, and fine-tunes the sample model on the result until it continues a video.
# `make demo` calls it. The optional argument is the output folder.
set -euo pipefail
demo=${1:-demo}
model=$demo/samples/video-3m
stages=6
stage=0

# Prints the number and purpose of a stage and the elapsed time.
announce() {
  stage=$((stage + 1))
  printf '\n[%3d s] Stage %d of %d: %s\n' "$SECONDS" "$stage" "$stages" "$1"
}
# Prints a command and runs it.
longreel() {
  printf '$ longreel %s\n' "$*"
  command longreel "$@"
}

# Prints the held-out losses of a training run, in nats per token.
held_out() {
  sed -nE 's/.*"kind": "eval", "step": ([0-9]+).*"text_loss": ([0-9.]{5}).*"vision_loss": ([0-9.]{5}).*/  step \1: text \2, vision \3/p' \
    "$1/metrics.jsonl"
}

announce "fetch sample videos, books and a small model"
longreel samples --out "$demo/samples"

announce "survey, deduplicate, select, tokenize and pack, at two context lengths"
longreel run "$demo/samples/manifest.jsonl" --out "$demo/data" --text-tokenizer "$model/text_tokenizer" \
  --context 4096 --context 16384 --decode.fps 8

announce "verify both datasets"
longreel verify "$demo/data/packed/4096" --tokens "$demo/data/tokens"
longreel verify "$demo/data/packed/16384" --tokens "$demo/data/tokens"

announce "fine-tune the model at a context of 4,096 tokens (compiles for half a minute first)"
longreel train --dataset "$demo/data/packed/4096" --out "$demo/model-4096" --init-from "$model" --steps 24 --batch-size 2 \
  --devices 4 --mesh.data 2 --mesh.sequence 2 --eval-every 12 --optimizer.learning-rate 5e-4

announce "continue at a context of 16,384 tokens (compiles for half a minute first)"
longreel train --dataset "$demo/data/packed/16384" --out "$demo/model-16384" --init-from "$demo/model-4096" \
  --steps 5 --batch-size 1 --devices 4 --mesh.sequence 4 --optimizer.learning-rate 2e-4 --optimizer.warmup-steps 2

announce "let the model continue a video"
longreel generate --model "$demo/model-16384" --workspace "$demo/data" --temperature 0.8 \
  --out "$demo/picture.png"

cat <<END

Done in $SECONDS s. Loss on held-out videos and books, at 4,096 tokens:
$(held_out "$demo/model-4096")
and at 16,384 tokens:
$(held_out "$demo/model-16384")
The output is in $demo/:
  picture.png        source frames, their reconstruction from tokens, and the model's continuation, from a red line on
  data/packed/4096   a dataset: WebDataset shards, index, ledger (documents-*.parquet), card (dataset.json)
  data/quarantine.parquet   the rejected items and the reasons
  model-4096, model-16384   checkpoints, metrics.jsonl, TensorBoard logs
Next, with your own files:
  .venv/bin/longreel run VIDEOS/ BOOKS/ --out DIR --context 4096 --context 32768
  .venv/bin/longreel trace $demo/data/packed/4096 --key train-000000000
  .venv/bin/longreel --help
END
