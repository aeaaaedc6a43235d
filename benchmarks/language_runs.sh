#!/usr/bin/env bash
# Whole runs of a language model: what each algorithm comes to at a late and an early cut, beside
# FedAvg, one client with all rows, and a client that is not trained at all.
#
#     benchmarks/language_runs.sh MODEL_DIRECTORY DATASET_DIRECTORY OUT_DIRECTORY [SEEDS]
#
# SmolLM2-135M has 30 blocks. A run took six to fifteen minutes on two cores. Completed runs are skipped
# when it is started again. With `python -m benchmarks.language_runs OUT_DIRECTORY` the figures become a table.
set -euo pipefail
model="$(realpath "$1")" dataset="$(realpath "$2")" out="$(realpath -m "$3")"
mkdir -p "$out/log"
common="task=causal_lm model=$model dataset=$dataset num-server-rounds=4 batch-size=8 language.max-length=96
    adapter.dropout=0.0 optimizer=adamw server-optimizer=adamw learning-rate=5e-4
    server-learning-rate=5e-4 weight-decay=0 server-weight-decay=0 checkpoint-interval=0
    results-dir=$out language.bleu=true"
upload="server-update-interval=2"
align="align.interval=1 align.dataset-size=64 align.batch-size=8 align.epochs=4"

run() { # NAME CLIENTS SETTINGS…
    local name="$1" clients="$2"
    shift 2
    [ -e "$out/log/$name.done" ] && return
    # shellcheck disable=SC2086 - the settings are words
    fsl-sage run --clients "$clients" run-name="$name" $common "$@" > "$out/log/$name.log" 2>&1 \
        && touch "$out/log/$name.done"
}

for seed in ${4:-200 201}; do
    for cut in 24 3; do
        at="cut=layers.$cut seed=$seed"
        run "frozen-$cut-$seed" 4 algorithm=cse_fsl $at $upload learning-rate=1e-30 auxiliary.learning-rate=1e-30
        run "cse-$cut-$seed" 4 algorithm=cse_fsl $at $upload
        run "cse-lens-$cut-$seed" 4 algorithm=cse_fsl $at $upload auxiliary.blocks=0
        run "sage-block-$cut-$seed" 4 algorithm=fsl_sage $at $upload $align
        run "sage-lens-$cut-$seed" 4 algorithm=fsl_sage $at $upload $align auxiliary.blocks=0 align.warm-start=true
        run "v2-$cut-$seed" 4 algorithm=sl_single_server $at
        run "v1-$cut-$seed" 4 algorithm=sl_multi_server $at
        run "split-frozen-$cut-$seed" 4 algorithm=split_frozen $at
        run "ampere-$cut-$seed" 4 algorithm=ampere ampere.client-rounds=2 $at
        run "heron-$cut-$seed" 4 algorithm=heron_sfl $at $upload
        run "cycle-$cut-$seed" 4 algorithm=cycle_sl $at
    done
    run "whole-$seed" 4 algorithm=fed_avg cut=layers.3 seed="$seed"
    run "uncut-$seed" 1 algorithm=fed_avg cut=layers.3 seed="$seed"
done
