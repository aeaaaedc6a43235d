"""What is trained: a language model's adapter, on sums that each client has some of."""

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from fsl_sage_flwr import ClientIdentity, SplitTask
from fsl_sage_flwr.language import Row, causal_lm_task


def sums(client: ClientIdentity):
    """Every client adds other numbers; put the texts of yours here."""
    own = range(client.partition_id, 100, client.num_partitions)
    return [Row(f"{k} plus {k + 1} is ", f"{2 * k + 1}") for k in own]


def adapted(name: str):
    torch.manual_seed(0)  # every node begins with the same adapter
    lora = LoraConfig(r=4, lora_alpha=32, lora_dropout=0.1, target_modules=["c_attn"])
    return get_peft_model(AutoModelForCausalLM.from_pretrained(name), lora)


def build_task(context) -> SplitTask:
    name = context.run_config["model"]
    return causal_lm_task(
        adapted(name),
        AutoTokenizer.from_pretrained(name),
        cut="transformer.h.1",
        rows=sums,
        max_length=24,
        batch_size=8,
    )
