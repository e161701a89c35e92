#!/usr/bin/env bash
# The main job on sample material, from videos and books to a model that goes on with a video. `make demo` runs it.
set -euo pipefail
demo=${1:-demo}
started=$SECONDS
step() { printf '\n[%4d s] $ longreel %s\n' $((SECONDS - started)) "$*"; longreel "$@"; }

step samples --out "$demo/samples"
step train-text-tokenizer "$demo/samples/books" --out "$demo/text.model" --vocab-size 2048
step run "$demo/samples/manifest.jsonl" --out "$demo/data" --text-model "$demo/text.model" \
  --context 4096 --context 16384 --decode.fps 8
step verify "$demo/data/packed/4096" --tokens "$demo/data/tokens"
step verify "$demo/data/packed/16384" --tokens "$demo/data/tokens"
step train --dataset "$demo/data/packed/4096" --out "$demo/model-4096" --model small --steps 80 --batch-size 2 \
  --devices 8 --mesh.data 2 --mesh.sequence 4 --eval-every 40 --optimizer.learning-rate 4e-3
step train --dataset "$demo/data/packed/16384" --out "$demo/model-16384" --init-from "$demo/model-4096" \
  --model small --steps 6 --batch-size 1 --devices 8 --mesh.sequence 8 \
  --optimizer.learning-rate 1e-3 --optimizer.warmup-steps 2
step generate --model "$demo/model-16384" --data "$demo/data" --out "$demo/picture.png"

cat <<END

Done in $((SECONDS - started)) s. Everything is in $demo/:
  picture.png        source frames, the same rebuilt from tokens, and the model's continuation
  data/packed/4096   a dataset: WebDataset shards, index.json, ledger (documents.parquet), card (dataset.json)
  data/quarantine.parquet   what was set aside, and why
  model-4096, model-16384   checkpoints, metrics.jsonl, TensorBoard logs
Next, with your own files:
  .venv/bin/longreel run VIDEOS/ BOOKS/ --out DIR --context 4096 --context 32768
  .venv/bin/longreel trace $demo/data/packed/4096 --key train-000000000
  .venv/bin/longreel --help
END
