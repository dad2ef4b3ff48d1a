"""`Strips`: the mixing of `HadamardMap` where d is large; every step moves whole runs of numbers.

H E = U · D · T · S, each with orthonormal columns:

- S deals θ out in hands of d, as a partition does, but in lines of 64 coordinates: each hand puts
  the lines in random order and gives each a random sign.
- T cuts the n places into 16 strips and applies the Walsh–Hadamard matrix of order 16 across them:
  to the first number of every strip, to the second of every strip, and so on.
- D gives each place a random sign. Without it directions that are smooth along neighbouring
  weights, as in a layer that sees images, are reached by the smooth part of θ alone.
- U joins 16 places too, a random prime number of places apart. Without it sets of weights that hold
  all of what T joins, such as columns of a matrix with 16 rows, see S alone, a partition.

Nothing here needs a cache that holds θ, as a gather number by number does, nor a transform of all
n places. Neither sets of places (a layer, columns of a matrix, a random set) nor sums of them can
tell the subspace of R^n from a uniformly random one (`tests/maps/test_large_maps.py`).
"""

from __future__ import annotations

import copy

import numpy as np
import torch

from subspan.canonical import digest, tensor_digest
from subspan.maps import kernels
from subspan.maps.base import looked_into
from subspan.maps.walsh import build_sylvester, sylvester
from subspan.streams import derive, words

_LINE = 64
_STRIPS = 16  # a power of four: then the entries of the matrix are exact
_PRIMES = (127, 131, 137, 139, 149, 151, 157, 163, 167, 173, 179, 181, 191, 193, 197, 199, 211)
_CHUNK = 2**18  # numbers that a cache holds
_PANEL = 2**14  # numbers of a strip; the signs of D repeat as often


class Strips:
    """H E: R^d → R^n of a seed, n from 3,376 on. Immutable.

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
        bits = words(seed, "map", "hadamard", "signs", start=0, count=_STRIPS * _PANEL)
        sign = 1 - 2 * (bits & np.uint64(1)).astype(np.float32)
        self._sign = torch.from_numpy(sign).view(_STRIPS, _PANEL)
        draw = int(words(seed, "map", "hadamard", "prime", start=0, count=1)[0])
        self._apart = _PRIMES[draw % len(_PRIMES)]
        self._hands = hands
        self._dealt = len(line) * _LINE  # places of whole lines; the rest of every hand follows
        length = size // _STRIPS
        self._length = length - (length % 2 == 0)  # so that lines lie differently in each strip
        whole, length = self._every * _LINE, self._length
        self._compiled = (_LINE, _STRIPS, _PANEL % kernels.WIDTH) == (
            kernels.LINE,
            kernels.ORDER,
            0,
        )
        self._shape = kernels.Shape(
            dim, size, len(line), whole, hands, length, self._apart, self._sign.shape[-1]
        )

    def mix(
        self,
        theta: torch.Tensor,
        out: torch.Tensor | None = None,
        offset: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return H E θ, (..., d) → (..., n); differentiable, unless written to `out`.

        An offset (n,) is added to that of one θ.
        """
        given = [(x, self.size) for x in (out, offset) if x is not None]
        one = theta.ndim == 1 and (out is None or out.ndim == 1)
        if self._compiled and one and kernels.serve((theta, self._dim), self._signs, *given):
            out = theta.new_empty(self.size) if out is None else out
            factor = self._factor.to(theta.dtype)
            kernels.mix_strips(self._shape, theta, self._line, factor, self._sign, out, offset)
            return out
        mixed = self._mix(theta, out)
        return mixed if offset is None else mixed + offset

    def _mix(self, theta: torch.Tensor, out: torch.Tensor | None) -> torch.Tensor:
        whole, batch = self._every * _LINE, theta.shape[:-1]
        lines = _lines(theta[..., :whole])
        factor = self._factor.to(theta.dtype)[:, None]
        rest = (theta[..., whole:] * self._hands**-0.5).unsqueeze(-2)
        rest = _flat(rest.expand(*batch, self._hands, self._dim - whole))
        end = self._dealt + rest.shape[-1]
        if _recorded(theta):
            dealt = _flat(lines.index_select(-2, self._line) * factor)
            none = theta.new_zeros(*batch, self.size - end)
            return self._mixed(torch.cat([dealt, rest, none], -1))
        x = theta.new_empty(*batch, self.size) if out is None else out
        for a, b in self._chunks():
            place = _lines(x[..., a * _LINE : b * _LINE])
            if place.is_contiguous():
                torch.index_select(lines, -2, self._line[a:b], out=place).mul_(factor[a:b])
            else:
                place.copy_(lines.index_select(-2, self._line[a:b])).mul_(factor[a:b])
        x[..., self._dealt : end] = rest
        x[..., end:] = 0
        return self._mixed(x)

    def unmix(self, x: torch.Tensor, overwrite: bool = False) -> torch.Tensor:
        """Return Eᵀ Hᵀ x, (..., n) → (..., d), which may overwrite x on request; differentiable."""
        if self._compiled and x.ndim == 1 and kernels.serve((x, self.size), self._signs):
            work, theta = torch.empty_like(x), x.new_zeros(self._dim)
            factor = self._factor.to(x.dtype)
            kernels.unmix_strips(self._shape, x, self._line, factor, self._sign, work, theta)
            theta[self._shape.whole :] = self._rest(work)
            return theta
        if not (overwrite or _recorded(x)):
            x = x.clone()
        x = self._mixed(x, transpose=True)
        factor = self._factor.to(x.dtype)[:, None]
        if _recorded(x):
            dealt = _lines(x[..., : self._dealt]) * factor
            lines = x.new_zeros(*x.shape[:-1], self._every, _LINE).index_add(-2, self._line, dealt)
            return torch.cat([_flat(lines), self._rest(x)], -1)
        theta = x.new_zeros(*x.shape[:-1], self._dim)
        lines = _lines(theta[..., : self._shape.whole])
        for a, b in self._chunks():
            part = _lines(x[..., a * _LINE : b * _LINE]) * factor[a:b]
            lines.index_add_(-2, self._line[a:b], part)
        theta[..., self._shape.whole :] = self._rest(x)
        return theta

    @property
    def _signs(self) -> tuple[torch.Tensor, int]:
        return self._sign, _STRIPS * self._shape.panel

    def _rest(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sums of the places that follow the lines, (..., n) → (..., d - whole)."""
        left = self._dim - self._shape.whole
        places = x[..., self._dealt : self._dealt + self._hands * left]
        return places.reshape(*x.shape[:-1], self._hands, left).sum(-2) * self._hands**-0.5

    def _chunks(self) -> list[tuple[int, int]]:
        """Return runs of lines: those that a cache holds, or else the hands.

        A hand has no line twice, so that a GPU adds in an order of our own.
        """
        step = _CHUNK // _LINE if self._line.device.type == "cpu" else self._every
        return [(a, min(a + step, len(self._line))) for a in range(0, len(self._line), step)]

    def _mixed(self, x: torch.Tensor, transpose: bool = False) -> torch.Tensor:
        """Return U D T x or its transpose, (..., n) → (..., n), in x if nothing records."""
        if transpose:
            return self._across(self._join(x, transpose=True), transpose=True)
        return self._join(self._across(x))

    def _across(self, x: torch.Tensor, transpose: bool = False) -> torch.Tensor:
        """Return D T x or (D T)ᵀ x, (..., n) → (..., n), in x's memory where nothing records."""
        skipped = self.size - _STRIPS * self._length  # too few for another place in each strip
        strips = x[..., skipped:].view(*x.shape[:-1], _STRIPS, self._length)
        h, sign = _matrix(x), self._sign.to(x.dtype)
        if _recorded(x):
            sign = sign.repeat(1, -(-self._length // _PANEL))[..., : self._length]
            mixed = torch.matmul(h, strips * sign if transpose else strips)
            changed = mixed if transpose else mixed * sign
            return torch.cat([x[..., :skipped], _flat(changed)], -1)
        for panel in strips.split(_PANEL, -1):
            part = sign[..., : panel.shape[-1]]
            if transpose:
                panel.copy_(torch.matmul(h, panel.mul_(part)))
            else:
                torch.mul(torch.matmul(h, panel), part, out=panel)
        return x

    def _join(self, x: torch.Tensor, transpose: bool = False) -> torch.Tensor:
        """Return U x or Uᵀ x, (..., n) → (..., n), in x's memory where nothing records.

        U joins the places of one block after another; the last block ends with the last place, and
        overlaps with the one before.
        """
        h, block = _matrix(x), _STRIPS * self._apart
        whole, cut = self.size - self.size % block, self.size - block

        def blocks_of(x: torch.Tensor) -> torch.Tensor:
            return x.view(*x.shape[:-1], x.shape[-1] // block, _STRIPS, self._apart)

        if _recorded(x):

            def blocks(x: torch.Tensor) -> torch.Tensor:
                joined = torch.matmul(h, blocks_of(x[..., :whole]))
                return torch.cat([_flat(_flat(joined)), x[..., whole:]], -1)

            def last(x: torch.Tensor) -> torch.Tensor:
                joined = torch.matmul(h, blocks_of(x[..., cut:]))
                return torch.cat([x[..., :cut], _flat(_flat(joined))], -1)

            return blocks(last(x)) if transpose else last(blocks(x))
        parts = list(x[..., :whole].split(_CHUNK // block * block, -1))
        parts.insert(0 if transpose else len(parts), x[..., cut:])
        for part in parts:
            view = blocks_of(part)
            view.copy_(torch.matmul(h, view))
        return x

    def to(self, device: torch.device) -> Strips:
        """Return this mixing on another device."""
        new = copy.copy(self)
        for name in ("_line", "_factor", "_sign"):
            setattr(new, name, getattr(self, name).to(device))
        return new

    def checksum(self, spread: str | None) -> str:
        """Return the checksum of the map from that of its P, None where it has none."""
        shape = [self._dim, self.size, _LINE, _STRIPS, self._length, self._apart]
        arrays = tensor_digest(self._line, self._factor, self._sign)
        return digest(["strips", shape, arrays, spread])


def _lines(x: torch.Tensor) -> torch.Tensor:
    return x.view(*x.shape[:-1], x.shape[-1] // _LINE, _LINE)


def _flat(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])


def _matrix(x: torch.Tensor) -> torch.Tensor:
    matrix = build_sylvester if torch.compiler.is_compiling() else sylvester
    return matrix(_STRIPS, x.dtype, x.device)


def _recorded(x: torch.Tensor) -> bool:
    """Whether plain operations are wanted, which write to no memory twice."""
    return looked_into(x) or (x.requires_grad and torch.is_grad_enabled())
