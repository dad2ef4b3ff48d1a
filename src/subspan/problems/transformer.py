"""Small transformers: a Vision Transformer and a character model, written in plain operations.

Attention is a product of plain tensors, which `torch.func` can batch over many weights at once.
Normalisation comes before attention and MLP (pre-norm); no dropout.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from subspan.problems.models import Initializer, initializer
from subspan.streams import normals

_STD = 0.02  # of embeddings and positions, as in GPT-2 and ViT


class Attention(nn.Module):
    """Multi-head self-attention, (n, tokens, width) → the same; `causal` hides later tokens."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, tokens, width) → (n, tokens, width)."""
        n, tokens, width = x.shape
        parts = self.qkv(x).reshape(n, tokens, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        scores = q @ k.transpose(-2, -1) / math.sqrt(width // self.heads)
        if self.causal:
            later = torch.ones(tokens, tokens, dtype=torch.bool, device=x.device).triu(1)
            scores = scores.masked_fill(later, -math.inf)
        mixed = scores.softmax(-1) @ v
        return self.out(mixed.transpose(1, 2).reshape(n, tokens, width))


class Block(nn.Module):
    """Attention and a two-layer MLP (GELU, four times the width), each with a skip."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, tokens, width) → (n, tokens, width)."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """Patches → linear embedding → blocks → mean over tokens → classes.

    Args:
        image: channels, height, width; the patch must divide both.
        classes: number of outputs.
        patch: side of a patch in pixels.
        width: of the tokens.
        depth: number of blocks.
        heads: of the attention.
    """

    def __init__(
        self,
        image: tuple[int, int, int],
        classes: int,
        patch: int = 4,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
    ) -> None:
        super().__init__()
        channels, height, breadth = image
        self.patch = patch
        self.embed = nn.Linear(channels * patch * patch, width)
        tokens = (height // patch) * (breadth // patch)
        self.position = nn.Parameter(torch.zeros(tokens, width))
        self.blocks = nn.Sequential(*(Block(width, heads, causal=False) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, channels, height, width) → (n, classes)."""
        n, channels, height, breadth = x.shape
        p = self.patch
        tiles = x.reshape(n, channels, height // p, p, breadth // p, p)
        tokens = tiles.permute(0, 2, 4, 1, 3, 5).reshape(n, -1, channels * p * p)
        y = self.blocks(self.embed(tokens) + self.position)
        logits: torch.Tensor = self.head(self.norm(y).mean(1))
        return logits


class CharacterTransformer(nn.Module):
    """Characters so far → the next one: (n, context) int64 → (n, vocabulary).

    Args:
        vocabulary: number of different characters.
        context: characters seen.
        width: of the tokens.
        depth: number of causal blocks.
        heads: of the attention.
    """

    def __init__(
        self, vocabulary: int, context: int = 32, width: int = 48, depth: int = 2, heads: int = 4
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.zeros(context, width))
        self.blocks = nn.Sequential(*(Block(width, heads, causal=True) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, context) → (n, vocabulary): the logits of the character after the last."""
        y = self.blocks(self.embed(x) + self.position)
        logits: torch.Tensor = self.head(self.norm(y)[:, -1])
        return logits


def transformer_normal(make_module: Callable[[], nn.Module], *tables: str) -> Initializer:
    """Return LeCun-normal matrices (not truncated); `tables` (embeddings) of deviation 0.02.

    Biases start at zero, norm scales at one.
    """

    def draw(seed: int, name: str, shape: torch.Size) -> np.ndarray:
        std = _STD if name in tables else 1 / math.sqrt(shape[1])
        return normals(seed, "weights", name, count=shape.numel()) * std

    return initializer(make_module, draw)
