"""What is trained: a BERT, where it is cut, and each client's texts."""

import random

import torch
from transformers import BertConfig, BertForSequenceClassification

from fsl_sage_flwr import ClientIdentity, SplitTask, split

PRAISE = ["fine", "good", "great", "lovely", "warm", "clever", "funny", "honest"]
BLAME = ["bad", "dull", "slow", "weak", "cold", "silly", "boring", "empty"]
FILL = ["the", "film", "a", "plot", "and", "its", "actors", "with", "music", "was", "very", "long"]
WORDS = ["[PAD]", "[CLS]", *PRAISE, *BLAME, *FILL]
LONGEST = 24


def data(test: bool):
    """Reviews of 5 to 24 words and whether they praise; your tokenizer's ids go here."""
    draw = random.Random(1 if test else 0)
    texts = []
    for _ in range(200 if test else 800):
        label = draw.randrange(2)
        words = draw.choices(FILL, k=draw.randint(2, LONGEST - 3))
        words += draw.choices(PRAISE if label else BLAME, k=2)
        draw.shuffle(words)
        texts.append(([WORDS.index(word) for word in ["[CLS]", *words]], label))
    return texts


def padded(texts, size=16):
    """Batches of texts, each padded to its longest."""
    batches = []
    for start in range(0, len(texts), size):
        some = texts[start : start + size]
        ids = [torch.tensor(words) for words, _ in some]
        ids = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
        labels = torch.tensor([label for _, label in some])
        batches.append(({"input_ids": ids, "attention_mask": (ids > 0).long()}, labels))
    return batches


def train_batches(client: ClientIdentity, seed: int):
    texts = data(test=False)[client.partition_id :: client.num_partitions]
    return padded(random.Random(seed).sample(texts, len(texts)))


def example(length: int):
    ids = torch.ones(2, length, dtype=torch.long)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def build_task(context) -> SplitTask:
    torch.manual_seed(0)  # every node begins with the same weights
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=4, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=LONGEST,
    )  # fmt: skip
    model = split(
        BertForSequenceClassification(config),
        at="encoder.layer.2",
        example=example(LONGEST),
        public=("attention_mask",),  # the server sees it; it never sees the ids
        smaller=example(5),  # batches may have any length
    )
    return SplitTask(model, example(LONGEST), num_classes=2, train_batches=train_batches)
