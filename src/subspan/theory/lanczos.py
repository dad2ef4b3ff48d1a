"""Spectra of an operator: quadrature by Lanczos with full re-orthogonalisation, top eigenpairs."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from subspan.errors import invalid, real, whole
from subspan.streams import normals, stream
from subspan.theory.arrays import ArrayLike, tensor, vector
from subspan.training.lanczos_step import lanczos_step

_CPU = torch.device("cpu")
_CONVERGED = 1e-10  # residual of a Ritz pair, as a share of its value
_RESTARTS = 100
_SAME = 1e-10  # by how much of that an eigenvalue must exceed another to be above it


@dataclass(frozen=True)
class Operator:
    """A symmetric linear operator H on R^D, as a function that applies it.

    Args:
        dim: D.
        apply: v (K, D) → H v (K, D), row by row.
        device: where `apply` wants v.
        dtype: that `apply` wants. Lanczos itself keeps its vectors in float64.
    """

    dim: int
    apply: Callable[[torch.Tensor], torch.Tensor]
    device: torch.device = _CPU
    dtype: torch.dtype = torch.float64

    def __post_init__(self) -> None:
        """Refuse a D that is not an integer of 1 or more, and a dtype of whole numbers."""
        whole("dim", self.dim, low=1)
        if not self.dtype.is_floating_point:
            raise invalid("dtype", expected="a floating one", got=self.dtype)

    def __call__(self, v: torch.Tensor) -> torch.Tensor:
        """Return H v in v's dtype, (D,) or (K, D).

        Raises:
            InputError: v has another shape.
        """
        if v.ndim not in (1, 2) or v.shape[-1] != self.dim:
            expected = f"shape ({self.dim},) or (K, {self.dim})"
            raise invalid("v", expected=expected, got=f"shape {tuple(v.shape)}")
        rows = torch.atleast_2d(v).to(self.device, self.dtype)
        return self.apply(rows).to(v.dtype).reshape(v.shape)

    @classmethod
    def diagonal(cls, eigenvalues: ArrayLike) -> Operator:
        """Return the operator diag(eigenvalues), shape (D,)."""
        values = tensor("eigenvalues", eigenvalues).to(torch.float64)
        _check_matrix("eigenvalues", values, 1)
        return cls(len(values), lambda v: v * values, values.device)

    @classmethod
    def dense(cls, matrix: ArrayLike) -> Operator:
        """Return the operator of a symmetric matrix (D, D), in its own floating dtype or float64.

        Raises:
            InputError: it is not square, finite and symmetric (to 1e-5 of its largest entry).
        """
        matrix = tensor("matrix", matrix)
        _check_matrix("matrix", matrix, 2)
        off = float((matrix - matrix.T).abs().max())
        if off > 1e-5 * float(matrix.abs().max()):
            raise invalid(
                "matrix", expected="a symmetric one", got=f"entries that differ by {off:.2g}"
            )
        return cls(len(matrix), lambda v: v @ matrix, matrix.device, matrix.dtype)


@dataclass(frozen=True)
class Lanczos:
    """What `steps` Lanczos steps from a start vector know of an operator.

    Attributes:
        alphas: diagonal of the tridiagonal matrix T, shape (m,), float64.
        betas: its off-diagonal, shape (m − 1,).
        residual: the next off-diagonal entry, which bounds the error of Ritz values.
        start_norm: norm of the start vector.
        basis: orthonormal Lanczos vectors (m, D), or None.
    """

    alphas: np.ndarray
    betas: np.ndarray
    residual: float
    start_norm: float
    basis: torch.Tensor | None

    def quadrature(self) -> tuple[np.ndarray, np.ndarray]:
        """Return Gauss nodes and weights, each (m,): Σ weight f(node) ≈ startᵀ f(H) start."""
        values, vectors = self.eigh()
        return values, self.start_norm**2 * vectors[0] ** 2

    def radau(self) -> tuple[np.ndarray, np.ndarray]:
        """Return Gauss–Radau nodes and weights, each (m + 1,), with one node at the bottom.

        The prescribed node stands just below 0, or below the least Ritz value if that is negative
        (Golub 1973). For H ⪰ 0 and f concave with derivatives of alternating sign, such as
        κλ/(1 + κλ), Gauss quadrature is an upper bound and this a lower one. Where Lanczos ended
        in an invariant subspace both are exact and this is `quadrature`.
        """
        values, vectors = self.eigh()
        scale = float(np.abs(values).max())
        if self.residual <= 1e-12 * scale:
            return self.quadrature()
        node = min(0.0, float(values[0])) - 1e-12 * scale
        # the last entry of (T − node)⁻¹ e_m
        corner = float(vectors[-1] ** 2 @ (1 / (values - node)))
        extended = Lanczos(
            np.append(self.alphas, node + self.residual**2 * corner),
            np.append(self.betas, self.residual),
            0.0,
            self.start_norm,
            None,
        )
        return extended.quadrature()

    def eigh(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the eigenvalues and eigenvectors of T, ascending."""
        matrix = np.diag(self.alphas) + np.diag(self.betas, 1) + np.diag(self.betas, -1)
        return np.linalg.eigh(matrix)


def lanczos(
    operator: Operator,
    start: ArrayLike,
    steps: int,
    *,
    keep_basis: bool = False,
) -> Lanczos:
    """Run Lanczos (1950) from a start vector, re-orthogonalising fully, twice, at each step.

    Stops before `steps` once an invariant subspace is found. Memory: steps · D float64.

    Args:
        operator: H.
        start: shape (D,), not zero.
        steps: at most, 1 or more; capped at D.
        keep_basis: keep the Lanczos vectors in the result.

    Raises:
        InputError: the start vector is zero, not finite or of the wrong shape, `steps` is below 1,
            or a product with H is not finite.
    """
    steps = whole("steps", steps, low=1)
    start = tensor("start", start)
    if start.shape != (operator.dim,):
        raise invalid("start", expected=f"shape ({operator.dim},)", got=tuple(start.shape))
    norm = float(start.to(torch.float64).norm())
    if not 0 < norm < float("inf"):
        raise invalid("start", expected="a finite vector other than 0", got=f"norm {norm}")
    steps = min(steps, operator.dim)
    basis = torch.empty(steps, operator.dim, dtype=torch.float64, device=operator.device)
    basis[0] = start.to(basis) / norm
    alphas: list[float] = []
    betas: list[float] = []
    for m in range(steps):
        alpha, w, beta = lanczos_step(operator, basis[m], basis[: m + 1])
        alphas.append(alpha)
        betas.append(beta)
        if not math.isfinite(betas[-1]):
            raise invalid("operator", expected="finite products", got="NaN or infinity")
        scale = max(1e-300, max(abs(a) for a in alphas), max(betas))
        if m + 1 == steps or betas[-1] <= 1e-12 * scale:
            break
        basis[m + 1] = w / betas[-1]
    m = len(alphas)
    return Lanczos(
        np.array(alphas),
        np.array(betas[:-1]),
        betas[-1],
        norm,
        basis[:m].clone() if keep_basis else None,
    )


def density_measures(
    operator: Operator, probes: int, steps: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return one quadrature per probe by stochastic Lanczos quadrature (Ubaru, Chen, Saad 2017).

    Each is (nodes, weights) with Σ weight f(node) an estimate of tr f(H). Probes are Gaussian,
    scaled to norm √D, which is exact for constant f; their spread gives the standard error.

    Args:
        operator: H.
        probes: how many, at least 1.
        steps: Lanczos steps per probe.
        seed: of the probes.

    Raises:
        InputError: an argument is out of range, or a product with H is not finite.
    """
    probes, seed = whole("probes", probes, low=1), whole("seed", seed)
    measures = []
    for probe in range(probes):
        start = torch.from_numpy(normals(seed, "probe", probe, count=operator.dim))
        nodes, weights = lanczos(operator, start, steps).quadrature()
        measures.append((nodes, weights * (operator.dim / weights.sum())))
    return measures


def top_eigenpairs(
    operator: Operator, count: int, *, steps: int | None = None, seed: int = 0
) -> tuple[np.ndarray, torch.Tensor, np.ndarray]:
    """Return the algebraically largest eigenvalues, descending, with vectors and residual norms.

    SciPy's `eigsh` (ARPACK; Lehoucq, Sorensen, Yang 1998) finds them, but may pass over copies of a
    multiple eigenvalue. So it is asked again for the largest one orthogonal to those found, from
    another random vector, until that is not above them. Where D is at most `steps` the matrix is
    made and decomposed instead.

    Args:
        operator: H.
        count: how many, with multiplicity, 1 … D.
        steps: vectors kept at a time, at least `count` + 1; default min(D, 2·count + 40).
        seed: of the start vectors.

    Returns:
        Values (count,), vectors (count, D), residual norms ‖Hv − λv‖ (count,): those bound the
        distance of each value to a true eigenvalue.

    Raises:
        InputError: an argument is out of range, a product with H is not finite, or the steps are
            too few for the gaps between the eigenvalues.
    """
    count, seed = whole("count", count, low=1, high=operator.dim), whole("seed", seed)
    steps = 2 * count + 40 if steps is None else whole("steps", steps, low=1)
    steps = max(steps, count + 1)
    if operator.dim <= steps:
        every = torch.eye(operator.dim, dtype=torch.float64, device=operator.device)
        return _rayleigh_ritz(operator, every, count)
    found = _arpack(operator, count, steps, seed, 0)
    values, vectors, residuals = _rayleigh_ritz(operator, found, count)
    for draw in range(1, count + 1):
        scale = float(np.abs(values).max())
        rest = _deflated(operator, vectors, float(values[-1]) - scale)
        missed = _arpack(rest, 1, steps, seed, draw)
        if rest(missed)[0] @ missed[0] <= values[-1] + residuals.max() + _SAME * scale:
            break
        values, vectors, residuals = _rayleigh_ritz(operator, torch.cat([vectors, missed]), count)
    return values, vectors, residuals


def _arpack(operator: Operator, count: int, steps: int, seed: int, draw: int) -> torch.Tensor:
    """Return eigenvectors of the largest eigenvalues, orthonormal rows (count, D)."""

    def product(v: np.ndarray) -> np.ndarray:
        result = operator(torch.from_numpy(v.reshape(-1)).to(operator.device)).cpu().numpy()
        if not np.isfinite(result).all():
            raise invalid("operator", expected="finite products", got="NaN or infinity")
        return result

    start = normals(seed, "top", draw, count=operator.dim)
    # ARPACK takes no start vector that H sends to 0. H + shift does to none: lengths differ.
    shift = 1.25 * float(np.linalg.norm(product(start)) / np.linalg.norm(start)) or 1.0
    shape = (operator.dim, operator.dim)
    options: dict[str, Any] = {"which": "LA", "v0": start, "ncv": steps, "tol": _CONVERGED}
    if "rng" in inspect.signature(eigsh).parameters:  # SciPy 1.17; before, ARPACK had its own
        options["rng"] = stream(seed, "arpack", draw)
    try:
        _, vectors = eigsh(
            LinearOperator(shape, matvec=lambda v: product(v) + shift * v.reshape(-1), dtype=float),
            count,
            maxiter=_RESTARTS,
            **options,
        )
    except ArpackNoConvergence as error:
        raise invalid(
            "steps",
            expected="enough for the gaps between the eigenvalues",
            got=f"{steps}, where {_RESTARTS} restarts did not do",
            remedy="Take more steps, or fewer eigenvalues.",
        ) from error
    return torch.from_numpy(np.ascontiguousarray(vectors.T)).to(operator.device)


def _deflated(operator: Operator, vectors: torch.Tensor, value: float) -> Operator:
    """Return H on the complement of orthonormal rows, which get one eigenvalue instead."""

    def apply(v: torch.Tensor) -> torch.Tensor:
        inside = v @ vectors.T @ vectors
        image = operator(v - inside)
        return image - image @ vectors.T @ vectors + value * inside

    return Operator(operator.dim, apply, operator.device)


def _rayleigh_ritz(
    operator: Operator, basis: torch.Tensor, count: int
) -> tuple[np.ndarray, torch.Tensor, np.ndarray]:
    """Return the top Ritz values, vectors and residual norms over the span of rows."""
    basis = torch.linalg.qr(basis.T)[0].T
    products = operator(basis)
    if not torch.isfinite(products).all():
        raise invalid("operator", expected="finite products", got="NaN or infinity")
    inner = basis @ products.T
    values, rotation = torch.linalg.eigh(0.5 * (inner + inner.T))
    values, rotation = values.flip(0)[:count], rotation.T.flip(0)[:count]
    vectors = rotation @ basis
    residuals = (rotation @ products - values[:, None] * vectors).norm(dim=1)
    return values.cpu().numpy(), vectors, residuals.cpu().numpy()


def _check_matrix(name: str, values: torch.Tensor, ndim: int) -> None:
    shape = tuple(values.shape)
    if values.ndim != ndim or shape[0] == 0 or len(set(shape)) != 1:
        expected = f"shape ({', '.join('D' * ndim)}{',' if ndim == 1 else ''}), D ≥ 1"
        raise invalid(name, expected=expected, got=f"shape {shape}")
    if not torch.isfinite(values).all():
        raise invalid(name, expected="finite numbers", got="NaN or infinity")


def _checked_measure(measure: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    expected = "pairs (nodes, weights) of finite numbers, (m,) each"
    try:
        nodes, weights = (np.asarray(part, dtype=np.float64) for part in measure)
    except (TypeError, ValueError) as error:
        raise invalid("measures", expected=expected, got=repr(measure)) from error
    if nodes.ndim != 1 or nodes.shape != weights.shape:
        got = f"shapes {nodes.shape} and {weights.shape}"
        raise invalid("measures", expected=expected, got=got)
    if not (np.isfinite(nodes).all() and np.isfinite(weights).all()):
        raise invalid("measures", expected=expected, got="NaN or infinity")
    return nodes, weights


def smoothed_density(
    measures: Sequence[tuple[np.ndarray, np.ndarray]], grid: ArrayLike, width: float
) -> np.ndarray:
    """Return the spectral density on a grid, each node a Gaussian of standard deviation `width`.

    Averaged over the measures; integrates to D over the real line. In the grid's own units: pass
    nodes and grid both as logarithms for a density per log-eigenvalue.

    Args:
        measures: (nodes, weights) of each probe, each finite and (m,); at least one probe.
        grid: where, finite, shape (n,).
        width: above 0.

    Raises:
        InputError: an argument is out of range.
    """
    width = real("width", width, low=0, strict=True)
    if not hasattr(measures, "__len__"):
        raise invalid("measures", expected="a sequence of pairs", got=repr(measures))
    if len(measures) == 0:
        raise invalid("measures", expected="at least one", got="none")
    grid = vector("grid", grid)
    total = np.zeros_like(grid)
    for nodes, weights in map(_checked_measure, measures):
        z = (grid[:, None] - nodes) / width
        total += (np.exp(-0.5 * z**2) @ weights) / (width * np.sqrt(2 * np.pi))
    return total / len(measures)
