#!/usr/bin/env bash
# Everything of this project that waits for a GPU, for a machine with one. From the repository:
#
#     pip install -e ".[dev]" && benchmarks/gpu.sh CIFAR10_DIRECTORY [OUT_DIRECTORY]
#
# Nobody has run it yet. Each part writes a file of its own to OUT_DIRECTORY, and a part whose file is
# there is skipped, so that it can be run again.
set -euo pipefail
data="$(realpath "${1:?give a directory with CIFAR-10 (images and labels in parquet files)}")"
out="$(realpath -m "${2:-gpu-figures}")"
mkdir -p "$out"
cd "$(dirname "$0")/.."
nvidia-smi > "$out/machine.txt"
python -m pip freeze > "$out/packages.txt"

part() { # NAME COMMAND…: run it once, with the GPU's utilisation beside it
    local name="$1"
    shift
    [ -e "$out/$name.txt" ] && return
    nvidia-smi --query-gpu=timestamp,utilization.gpu,memory.used --format=csv -l 1 \
        > "$out/$name.utilisation.csv" &
    local watch=$!
    "$@" > "$out/$name.part" 2>&1 || echo "exit status $?" >> "$out/$name.part"
    kill "$watch"
    mv "$out/$name.part" "$out/$name.txt"
    echo "$name: $(tail -n 1 "$out/$name.txt")"
}

# 1. The same numbers as the CPU's within float32's noise; what a client takes of a GPU.
part parity pytest -q -n 0 -m "integration or not integration" tests/gpu tests/unit/simulations/test_gpu_memory.py
# 2. How many clients fit, and what that many bring: 1, 2, 4, automatic.
for share in 1 0.5 0.25 auto; do
    part "share-$share" fsl-sage run --preset paper --clients 10 --gpus-per-client "$share" \
        dataset="$data" num-server-rounds=5 align-interval=1000 results-dir="$out/results" run-name="share-$share"
done
# 3. bf16 beside fp32.
part bf16 fsl-sage run --preset paper --clients 10 --gpus-per-client auto precision=bf16 \
    dataset="$data" num-server-rounds=5 align-interval=1000 results-dir="$out/results" run-name=bf16
# 4. A round beside the same arithmetic in a plain loop, on the same card.
part round python -m benchmarks.round --dataset "$data"
# 5. Alignment.
part alignment python -m benchmarks.alignment --dataset "$data"
# 6. The published comparison: five algorithms, to the paper's communication.
part comparison fsl-sage sweep --preset comparison-cifar10 --clients 10 --gpus-per-client auto \
    dataset="$data" results-dir="$out/results"
