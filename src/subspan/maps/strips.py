"""`Strips`: the mixing of `HadamardMap` where d is large; every step moves whole runs of numbers.

H E = D · T · S. S deals θ out in hands of d, as a partition does, but in lines of 64 coordinates:
each hand puts the lines in random order and gives each a random sign. T cuts the n places into 64
strips and applies the Walsh–Hadamard matrix of order 64 across them: to the first number of every
strip, to the second of every strip, and so on. D gives each place a random sign. All three have
orthonormal columns.

Neither needs a cache that holds θ, as a gather number by number does, nor a transform of all n.
A strip's length is odd, so that the places of lines differ from strip to strip; what the cut leaves
over, fewer than 128 places at the beginning, is dealt out but not transformed. D matters: without
it, directions that are smooth along neighbouring weights, as in a layer that sees images, are
reached by the smooth part of θ alone. With it neither sets of weights (a layer, columns of a
matrix, a random set) nor sums of them can tell the subspace from a uniformly random one
(`tests/maps/test_large_maps.py`).
"""

from __future__ import annotations

import copy

import numpy as np
import torch

from subspan.canonical import digest, tensor_digest
from subspan.maps.base import looked_into
from subspan.maps.walsh import build_sylvester, sylvester
from subspan.streams import derive, words

_LINE = 64
_SIDE = 8  # there are 8 × 8 strips; the matrix across them is H₈ ⊗ H₈
_CHUNK_LINES = 2**12  # a mebibyte of float32, and so are 64 strips of
_PANEL = 2**12  # numbers; the signs of D repeat as often


class Strips:
    """H E: R^d → R^n of a seed, n from 64 on. Immutable.

    Args:
        dim: d.
        size: n.
        seed: of the map.

    Attributes:
        size: n.
        spread_seed: the seed of P.
    """

    def __init__(self, dim: int, size: int, seed: int) -> None:
        self.size, self._dim = size, dim
        self.spread_seed = derive(seed, "map", "hadamard")
        hands, last = divmod(size, dim)
        self._every = dim // _LINE  # lines in a hand
        deals = [self._every] * hands + [min(last // _LINE, self._every)]
        parts, signs = [], []
        for hand, count in enumerate(deals):
            keys = words(seed, "map", "hadamard", hand, start=0, count=self._every)
            parts.append(np.argsort(keys, kind="stable")[:count])
            # The order of keys is that of their high bits; the low one is free.
            signs.append(1 - 2.0 * (keys[:count] & np.uint64(1)))
        line = np.concatenate(parts)
        uses = np.bincount(line, minlength=self._every)
        self._line = torch.from_numpy(line)
        self._factor = torch.from_numpy(np.concatenate(signs) / np.sqrt(uses[line]))
        bits = words(seed, "map", "hadamard", "signs", start=0, count=_SIDE**2 * _PANEL)
        sign = 1 - 2 * (bits & np.uint64(1)).astype(np.float32)
        self._sign = torch.from_numpy(sign).view(_SIDE, _SIDE, _PANEL)
        self._hands = hands
        self._dealt = len(line) * _LINE  # places of whole lines; the rest of every hand follows
        length = size // _SIDE**2
        self._length = length - (length % 2 == 0)

    def mix(self, theta: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return H E θ, (..., d) → (..., n); differentiable, unless written to `out`."""
        whole, batch = self._every * _LINE, theta.shape[:-1]
        lines = _lines(theta[..., :whole])
        factor = self._factor.to(theta.dtype)[:, None]
        rest = (theta[..., whole:] * self._hands**-0.5).repeat(*[1] * len(batch), self._hands)
        end = self._dealt + rest.shape[-1]
        if _recorded(theta):
            dealt = lines.index_select(-2, self._line) * factor
            none = theta.new_zeros(*batch, self.size - end)
            return self._across(torch.cat([dealt.reshape(*batch, -1), rest, none], -1))
        x = theta.new_empty(*batch, self.size) if out is None else out
        for a, b in self._chunks():
            place = _lines(x[..., a * _LINE : b * _LINE])
            if place.is_contiguous():
                torch.index_select(lines, -2, self._line[a:b], out=place).mul_(factor[a:b])
            else:
                place.copy_(lines.index_select(-2, self._line[a:b])).mul_(factor[a:b])
        x[..., self._dealt : end] = rest
        x[..., end:] = 0
        return self._across(x, overwrite=True)

    def unmix(self, x: torch.Tensor, overwrite: bool = False) -> torch.Tensor:
        """Return Eᵀ Hᵀ x, (..., n) → (..., d), which may overwrite x on request; differentiable."""
        x = self._across(x, overwrite, transpose=True)
        whole, batch = self._every * _LINE, x.shape[:-1]
        factor = self._factor.to(x.dtype)[:, None]
        rest = x[..., self._dealt : self._dealt + self._hands * (self._dim - whole)]
        rest = rest.reshape(*batch, self._hands, self._dim - whole).sum(-2) * self._hands**-0.5
        if _recorded(x):
            dealt = _lines(x[..., : self._dealt]) * factor
            lines = x.new_zeros(*batch, self._every, _LINE).index_add(-2, self._line, dealt)
            return torch.cat([lines.reshape(*batch, -1), rest], -1)
        theta = x.new_zeros(*batch, self._dim)
        lines = _lines(theta[..., :whole])
        for a, b in self._chunks():
            part = _lines(x[..., a * _LINE : b * _LINE]) * factor[a:b]
            lines.index_add_(-2, self._line[a:b], part)
        theta[..., whole:] = rest
        return theta

    def _chunks(self) -> list[tuple[int, int]]:
        """Return runs of lines: those that a cache holds, or else the hands.

        A hand has no line twice, so that a GPU adds in an order of our own.
        """
        step = _CHUNK_LINES if self._line.device.type == "cpu" else self._every
        return [(a, min(a + step, len(self._line))) for a in range(0, len(self._line), step)]

    def _across(
        self, x: torch.Tensor, overwrite: bool = False, transpose: bool = False
    ) -> torch.Tensor:
        """Return D T x or (D T)ᵀ x, (..., n) → (..., n), in x's memory if it may be."""
        shape = (*x.shape[:-1], _SIDE, _SIDE, self._length)
        skipped = self.size - _SIDE**2 * self._length
        strips = x[..., skipped:].view(shape)
        sign = self._sign.to(x.dtype)
        if _recorded(x):
            sign = sign.repeat(1, 1, -(-self._length // _PANEL))[..., : self._length]
            changed = _products(strips * sign) if transpose else _products(strips) * sign
            return torch.cat([x[..., :skipped], changed.reshape(*x.shape[:-1], -1)], -1)
        out = x if overwrite else torch.empty_like(x)
        out[..., :skipped] = x[..., :skipped]
        targets = out[..., skipped:].view(shape).split(_PANEL, -1)
        for source, target in zip(strips.split(_PANEL, -1), targets, strict=True):
            part = sign[..., : source.shape[-1]]
            work = target if target.is_contiguous() else source.new_empty(source.shape)
            if transpose:
                _products(torch.mul(source, part, out=work), work)
                if work is not target:
                    target.copy_(work)
            else:
                torch.mul(_products(source, work), part, out=target)
        return out

    def to(self, device: torch.device) -> Strips:
        """Return this mixing on another device."""
        new = copy.copy(self)
        for name in ("_line", "_factor", "_sign"):
            setattr(new, name, getattr(self, name).to(device))
        return new

    def checksum(self, spread: str | None) -> str:
        """Return the checksum of the map from that of its P, None where it has none."""
        shape = [self.size, _LINE, _SIDE, self._length]
        arrays = tensor_digest(self._line, self._factor, self._sign)
        return digest(["strips", shape, arrays, spread])


def _lines(x: torch.Tensor) -> torch.Tensor:
    return x.view(*x.shape[:-1], -1, _LINE)


def _products(strips: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
    """Return (H ⊗ H) x over the two axes before the last, in products of 8 × 8 blocks.

    `out`, contiguous, may be x itself.
    """
    matrix = build_sylvester if torch.compiler.is_compiling() else sylvester
    h = matrix(_SIDE, strips.dtype, strips.device)
    flat = (*strips.shape[:-2], -1)
    once = torch.matmul(h, strips).reshape(flat)
    if _SIDE.bit_length() % 2 == 0:
        h = h * 0.5  # h is scaled by the power of two in √8
    if out is None:
        return torch.matmul(h, once).view(strips.shape)
    torch.matmul(h, once, out=out.view(flat))
    return out


def _recorded(x: torch.Tensor) -> bool:
    """Whether plain operations are wanted, which write to no memory twice."""
    return looked_into(x) or (x.requires_grad and torch.is_grad_enabled())
