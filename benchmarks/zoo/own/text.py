"""Models of words: encoders, decoders, recurrent networks, experts."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import rnn

from ..entry import Entry
from .examples import WIDTH, WORDS, case, encoder, feed_forward, padded, words


class Reader(nn.Module):
    """PyTorch's encoder with a padding mask."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.encoder = nn.Embedding(WORDS, WIDTH), encoder()
        self.out = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor, pad: Tensor) -> Any:
        return self.out(self.encoder(self.words(x), src_key_padding_mask=pad).mean(dim=1))


class Causal(nn.Module):
    """PyTorch's tutorial: minus infinity in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.encoder = nn.Embedding(WORDS, WIDTH), encoder()
        self.out = nn.Linear(WIDTH, 3)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(8))

    def forward(self, x: Tensor) -> Any:
        return self.out(self.encoder(self.words(x), mask=self.mask).mean(dim=1))


class TimeFirst(Reader):
    """Hidden states with the batch on their second axis."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = encoder(batch_first=False)

    def forward(self, x: Tensor, pad: Tensor) -> Any:
        hidden = self.words(x).transpose(0, 1)
        return self.out(self.encoder(hidden, src_key_padding_mask=pad).mean(dim=0))


class Translator(nn.Module):
    """PyTorch's encoder and decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.both = nn.Transformer(WIDTH, 2, 2, 2, 32, batch_first=True)
        self.out = nn.Linear(WIDTH, WORDS)

    def forward(self, source: Tensor, target: Tensor) -> Any:
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        return self.out(self.both(self.words(source), self.words(target), tgt_mask=mask))


class Tied(nn.Module):
    """Embedding and output layer are one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.encoder = nn.Embedding(WORDS, WIDTH), encoder(2)
        self.out = nn.Linear(WIDTH, WORDS, bias=False)
        self.out.weight = self.words.weight

    def forward(self, x: Tensor) -> Any:
        return self.out(self.encoder(self.words(x)))


class Packed(nn.Module):
    """An LSTM of packed sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.lstm = nn.Embedding(WORDS, 8), nn.LSTM(8, 8, batch_first=True)
        self.hidden, self.out = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        packed = rnn.pack_padded_sequence(
            self.words(x), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        states, _ = rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=8)
        return self.out(torch.relu(self.hidden(states.sum(dim=1))))


class CellLoop(nn.Module):
    """LSTM cells in a loop over time; states in lists."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 8)
        self.cells = nn.ModuleList(nn.LSTMCell(8, 8) for _ in range(2))
        self.norm, self.out = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        states: list[Any] = [None, None]
        for step in self.words(x).unbind(dim=1):
            for k, cell in enumerate(self.cells):
                states[k] = cell(step, states[k])
                step = states[k][0]
        return self.out(self.norm(states[-1][0]))


class Pooled(nn.Module):
    """A bidirectional LSTM and attention over its states."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.lstm = nn.Embedding(WORDS, 8), nn.LSTM(8, 8, 2, True, True, 0.1, True)
        self.score, self.out = nn.Linear(16, 1), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Any:
        self.lstm.flatten_parameters()
        states, (last, _) = self.lstm(self.words(x))
        weights = self.score(states).softmax(dim=1)
        return self.out((weights * states).sum(dim=1) + last[-2:].transpose(0, 1).flatten(1))


class GptBlock(nn.Module):
    """Causal attention and a perceptron."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.LayerNorm(16), nn.LayerNorm(16)
        self.fused, self.back = nn.Linear(16, 48), nn.Linear(16, 16)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16), nn.Dropout(0.1))

    def forward(self, x: Tensor) -> Any:
        batch, length, width = x.shape
        parts = self.fused(self.one(x)).split(width, dim=2)
        query, key, value = (p.view(batch, length, 2, 8).transpose(1, 2) for p in parts)
        found = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.back(found.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp(self.two(x))


class Gpt(nn.Module):
    """A causal language model without a library, with fused queries, keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, 16), nn.Embedding(8, 16)
        self.blocks = nn.ModuleList(GptBlock() for _ in range(3))
        self.norm, self.out = nn.LayerNorm(16), nn.Linear(16, WORDS, bias=False)

    def forward(self, x: Tensor, targets: Tensor | None = None) -> Any:
        batch, length = x.size()
        assert length <= 8, "too long"  # noqa: S101 - as people write it
        hidden = self.words(x) + self.places(torch.arange(length, device=x.device))
        for block in self.blocks:
            hidden = block(hidden)
        logits = self.out(self.norm(hidden))
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits.view(batch * length, -1), targets.view(-1))


class FourierMixer(nn.Module):
    """An FNet: Fourier transforms in place of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(WORDS, 16), nn.Linear(16, 3)
        self.blocks = nn.ModuleList(feed_forward(16, 32) for _ in range(3))

    def forward(self, x: Tensor) -> Any:
        x = self.words(x)
        for block in self.blocks:
            x = x + torch.fft.fft(torch.fft.fft(x, dim=-1), dim=-2).real
            x = x + block(x)
        return self.out(x.mean(dim=1))


class LinearRecurrence(nn.Module):
    """An RWKV: mixing with the step before, and a decayed sum."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.mix = nn.Embedding(WORDS, 16), nn.Parameter(torch.rand(16))
        self.key, self.value = nn.Linear(16, 16), nn.Linear(16, 16)
        self.gate, self.decay = nn.Linear(16, 16), nn.Parameter(torch.rand(16))
        self.out = nn.Linear(16, WORDS)

    def forward(self, x: Tensor) -> Any:
        x = self.words(x)
        x = torch.lerp(F.pad(x, (0, 0, 1, -1)), x, self.mix)
        keys, values, gates = self.key(x).exp(), self.value(x), torch.sigmoid(self.gate(x))
        top, bottom, found = torch.zeros(x.shape[0], 16), torch.zeros(x.shape[0], 16), []
        for k in range(x.shape[1]):
            top = top * self.decay + keys[:, k] * values[:, k]
            bottom = bottom * self.decay + keys[:, k]
            found.append(gates[:, k] * top / (bottom + 1e-6))
        return self.out(torch.stack(found, dim=1))


class TextCnn(nn.Module):
    """Convolutions of several widths over words, each with its maximum."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 8, padding_idx=0)
        self.convs = nn.ModuleList(nn.Conv1d(8, 4, width) for width in (2, 3, 4))
        self.out = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.words(x).mT
        found = [torch.relu(conv(x)).amax(dim=2) for conv in self.convs]
        return self.out(F.dropout(torch.cat(found, dim=1), 0.1, self.training))


class TeacherForced(nn.Module):
    """An encoder, and a decoder with attention that is given the target."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.targets = nn.Embedding(WORDS, 8), nn.Embedding(WORDS, 8)
        self.encoder, self.decoder = nn.GRU(8, 8, batch_first=True), nn.GRUCell(16, 8)
        self.out = nn.Linear(8, WORDS)

    def forward(self, source: Tensor, target: Tensor) -> Any:
        states, last = self.encoder(self.words(source))
        state, found = last[0], []
        for word in self.targets(target).unbind(dim=1):
            weights = (states @ state[..., None]).softmax(dim=1)
            state = self.decoder(torch.cat([word, (weights * states).sum(dim=1)], dim=1), state)
            found.append(self.out(state))
        return torch.stack(found, dim=1)


class Latents(nn.Module):
    """A Perceiver: learnt latents that read the inputs again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.latents = nn.Embedding(WORDS, 16), nn.Parameter(torch.randn(4, 16))
        self.reads = nn.ModuleList(nn.MultiheadAttention(16, 2, batch_first=True) for _ in "12")
        self.thinks = nn.ModuleList(feed_forward(16, 32) for _ in "12")
        self.out = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.words(x)
        latents = self.latents.expand(x.shape[0], -1, -1)
        for read, think in zip(self.reads, self.thinks, strict=True):
            latents = latents + read(latents, x, x)[0]
            latents = latents + think(latents)
        return self.out(latents.mean(dim=1))


class GatedMlp(nn.Module):
    """A gMLP: a projection over the words that gates half of the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.wide = nn.Embedding(WORDS, 16), nn.Linear(16, 32)
        self.norm, self.over = nn.LayerNorm(16), nn.Conv1d(8, 8, 1)
        self.narrow, self.out = nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.words(x)
        value, gate = F.gelu(self.wide(x)).chunk(2, dim=-1)
        x = x + self.narrow(value * self.over(self.norm(gate)))
        return self.out(x.mean(dim=1))


class Switch(nn.Module):
    """Experts that each get the tokens routed to them."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.router = nn.Embedding(WORDS, 16), nn.Linear(16, 2)
        self.experts = nn.ModuleList(feed_forward(16, 32) for _ in range(2))
        self.norm, self.out = nn.LayerNorm(16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Any:
        x = self.words(x)
        flat = x.reshape(-1, 16)
        weight, chosen = self.router(flat).softmax(dim=1).max(dim=1)
        mixed = torch.zeros_like(flat)
        for k, expert in enumerate(self.experts):
            (mine,) = torch.where(chosen == k)
            mixed = mixed.index_add(0, mine, weight[mine, None] * expert(flat[mine]))
        return self.out(self.norm(x + mixed.view_as(x)).mean(dim=1))


def _pair() -> tuple[Tensor, Tensor]:
    return words(), words()[:, :5]


def entries() -> Iterator[Entry]:
    """Yield the models."""
    layers = "encoder.layers.0 encoder.layers.2 out"
    yield case("encoder with a padding mask", Reader, layers, padded, ("pad",))
    yield case("encoder, mask not public", Reader, layers, padded)
    yield case("encoder with a causal mask", Causal, layers, words)
    yield case("encoder, time first", TimeFirst, layers, padded, ("pad",))
    both = "both.encoder.layers.1 both.decoder.layers.1 out"
    yield case("encoder and decoder", Translator, both, _pair, axis=-1)
    title = "encoder and decoder, target public"
    yield case(title, Translator, both, _pair, ("target",), axis=-1)
    yield case("tied embeddings", Tied, "encoder.layers.0 out", words, axis=-1)
    yield case(
        "packed LSTM", Packed, "lstm hidden out",
        lambda: (words(), torch.tensor([8, 5, 3])), ("lengths",),
    )  # fmt: skip
    yield case("LSTM cells in a loop", CellLoop, "cells.0 cells.1 norm", words)
    yield case("bidirectional LSTM, attention pooling", Pooled, "lstm score out", words)
    yield case("GPT", Gpt, "blocks.0 blocks.1.mlp norm out", words, axis=-1)
    yield case("Fourier mixer", FourierMixer, "blocks.0 blocks.2 out", words)
    yield case("linear recurrence", LinearRecurrence, "key gate out", words, axis=-1)
    yield case("text CNN", TextCnn, "convs.0 convs.1 out", words)
    forced = "encoder decoder out"
    yield case("teacher forcing", TeacherForced, forced, _pair, ("target",), axis=-1)
    yield case("latents that read", Latents, "reads.0 thinks.0 reads.1 out", words)
    yield case("gated perceptron", GatedMlp, "wide over narrow out", words)
    yield case("switched experts", Switch, "router experts.0 experts.1 norm", words)
