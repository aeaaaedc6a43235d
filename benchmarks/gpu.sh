#!/usr/bin/env bash
# Run all benchmarks and tests that need a GPU. From the repository:
#
#     pip install -e ".[dev]" && benchmarks/gpu.sh CIFAR10_DIRECTORY [OUT_DIRECTORY [PART ...]]
#
# Each part writes one file to OUT_DIRECTORY; a part with a file is skipped, so a repeated command
# continues. Without a PART all run, in the order below. Some ran on an H100 and an H200
# (benchmarks/README.md); the whole script has not run yet.
set -euo pipefail
data="$(realpath "${1:?give a directory with CIFAR-10 (images and labels in parquet files)}")"
out="$(realpath -m "${2:-gpu-figures}")"
parts=("${@:3}")
mkdir -p "$out"
cd "$(dirname "$0")/.."
nvidia-smi > "$out/machine.txt"
python -m pip freeze > "$out/packages.txt"

part() { # NAME COMMAND…: run it once
    local name="$1"
    shift
    [ "${#parts[@]}" -eq 0 ] || [[ " ${parts[*]} " == *" $name "* ]] || return 0
    [ -e "$out/$name.txt" ] && return
    "$@" > "$out/$name.part" 2>&1 || echo "exit status $?" >> "$out/$name.part"
    mv "$out/$name.part" "$out/$name.txt"
    echo "$name: $(tail -n 1 "$out/$name.txt")"
}

# The same numbers as the CPU's within float32's noise, and the same every time.
part parity pytest -m "" tests/gpu
# The contract of every strategy, with its small task on the GPU.
part contract env FSL_SAGE_TEST_DEVICE=cuda pytest -m "not e2e" \
    tests/unit/strategies tests/unit/test_server_app.py
# A round beside the same arithmetic in a plain loop on the same card, and how busy the card is.
part round python -m benchmarks.round --precision fp32 tf32 bf16 --gpus-per-client 1 0.34 0.1
# Ways to do the steps.
part steps python -m benchmarks.arithmetic --device cuda --steps 30
# Heads fitted one after the other, and as one batch.
part heads python -m benchmarks.batched_heads --heads 10 100
part heads-resnet18 python -m benchmarks.batched_heads --model resnet18 --dataset "$data" --heads 10
# The published comparison: five algorithms, to the paper's communication.
part comparison fsl-sage sweep --preset comparison-cifar10 --clients 10 --gpus-per-client 0.1 \
    precision=tf32 dataset="$data" results-dir="$out/results"
