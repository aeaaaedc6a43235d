"""Compute the MiB per client and round of a language model.

    python -m benchmarks.language_bytes

GPT-2 with random weights: bytes depend on shapes alone. 42,061 rows of E2E among ten clients.
"""

import argparse
from typing import Any

import pandas as pd
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, GPT2Config

from fsl_sage_flwr.algorithm_registry import ALGORITHMS, label_of
from fsl_sage_flwr.app.config import RunConfig
from fsl_sage_flwr.language import causal_lm_task
from fsl_sage_flwr.splitting import Workload, cut_of, trainable_state
from fsl_sage_flwr.task import SplitTask

WORK = Workload(examples=4206, batch_size=8)
MEDIUM = {"n_embd": 1024, "n_layer": 24, "n_head": 16}
SETTINGS = {
    # name: the model, the cut, blocks of a head, tokens of a row
    "GPT-2 medium, cut 1, head of 3 blocks, 512 tokens": (MEDIUM, 1, 3, 512),
    "the same, 128 tokens": (MEDIUM, 1, 3, 128),
    "GPT-2, cut 3, head of 1 block, 512 tokens": ({}, 3, 1, 512),
    "the same, 96 tokens": ({}, 3, 1, 96),
}


def task_of(shape: dict[str, int], cut: int, blocks: int, length: int) -> SplitTask:
    """Build a task without data."""
    lora = LoraConfig(r=4, lora_alpha=32, target_modules=["c_attn"])
    auto: Any = AutoModelForCausalLM
    model = get_peft_model(auto.from_config(GPT2Config.from_dict(shape)), lora)
    return causal_lm_task(
        model, None, cut=f"transformer.h.{cut}", rows=lambda client: [], max_length=length,
        head_blocks=blocks, prove=False,
    )  # fmt: skip


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    values = {"server-update-interval": 5, "align.interval": 10}
    table = {}
    for name, setting in SETTINGS.items():
        task = task_of(*setting)
        cut = cut_of(task.model, task.head, task.smashed_example(), trainable_state)
        table[name] = {
            label_of(algorithm): entry.round_bytes(
                cut, WORK, RunConfig.unchecked({"algorithm": algorithm, **values}).options
            )
            / 2**20
            for algorithm, entry in ALGORITHMS.items()
            if entry.round_bytes
        }
    print(pd.DataFrame(table).T.to_markdown(floatfmt=",.2f"))


if __name__ == "__main__":
    main()
