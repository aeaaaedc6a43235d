"""A model of Transformers as a module from one tensor to one tensor."""

from torch import Tensor, nn


class TokenScores(nn.Module):
    """A causal language model, from token ids ``(B, T)`` to scores ``(B, T, V)``.

    There is no attention mask: attention is causal and padding is on the right, so no token that
    counts sees any of it.

    Parameters
    ----------
    model : nn.Module
        Of Transformers, with or without an adapter of PEFT.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        """Return the scores of the token that follows each."""
        scores: Tensor = self.model(input_ids=ids, use_cache=False).logits
        return scores
