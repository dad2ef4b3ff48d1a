"""Lanczos with full re-orthogonalisation: spectra, quadrature and top eigenpairs of an operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from subspan.errors import invalid
from subspan.streams import normals

_CPU = torch.device("cpu")


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

    def __call__(self, v: torch.Tensor) -> torch.Tensor:
        """Return H v in v's dtype, (D,) or (K, D)."""
        rows = torch.atleast_2d(v).to(self.device, self.dtype)
        return self.apply(rows).to(v.dtype).reshape(v.shape)

    @classmethod
    def diagonal(cls, eigenvalues: torch.Tensor) -> Operator:
        """Return the operator diag(eigenvalues)."""
        values = eigenvalues.to(torch.float64)
        return cls(len(values), lambda v: v * values, values.device)

    @classmethod
    def dense(cls, matrix: torch.Tensor) -> Operator:
        """Return the operator of a symmetric matrix (D, D)."""
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
    operator: Operator, start: torch.Tensor, steps: int, *, keep_basis: bool = False
) -> Lanczos:
    """Run Lanczos (1950) from a start vector, re-orthogonalising fully, twice, at each step.

    Stops before `steps` once an invariant subspace is found. Memory: steps · D float64.

    Args:
        operator: H.
        start: shape (D,), not zero.
        steps: at most; capped at D.
        keep_basis: keep the Lanczos vectors in the result.

    Raises:
        InputError: the start vector is zero, not finite or of the wrong shape.
    """
    if start.shape != (operator.dim,):
        raise invalid("start", expected=f"shape ({operator.dim},)", got=tuple(start.shape))
    norm = float(start.to(torch.float64).norm())
    if not 0 < norm < float("inf"):
        raise invalid("start", expected="a finite vector other than 0", got=f"norm {norm}")
    steps = min(steps, operator.dim)
    device = operator.device
    basis = torch.empty(steps, operator.dim, dtype=torch.float64, device=device)
    basis[0] = start.to(device, torch.float64) / norm
    alphas: list[float] = []
    betas: list[float] = []
    for m in range(steps):
        w = operator(basis[m])
        alphas.append(float(w @ basis[m]))
        done = basis[: m + 1]
        for _ in range(2):
            w = w - done.T @ (done @ w)
        betas.append(float(w.norm()))
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
    """
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

    Args:
        operator: H.
        count: how many.
        steps: Lanczos steps; default min(D, 2·count + 40).
        seed: of the start vector.

    Returns:
        Values (count,), vectors (count, D), residual norms ‖Hv − λv‖ (count,): those bound the
        distance of each value to a true eigenvalue.
    """
    if not 1 <= count <= operator.dim:
        raise invalid("count", expected=f"an integer in 1 … {operator.dim}", got=repr(count))
    start = torch.from_numpy(normals(seed, "top", count=operator.dim))
    steps = min(operator.dim, max(count, steps or 2 * count + 40))
    result = lanczos(operator, start, steps, keep_basis=True)
    values, vectors = result.eigh()
    order = np.argsort(values)[::-1][:count]
    assert result.basis is not None
    rotation = torch.from_numpy(vectors[:, order].T.copy()).to(result.basis)
    residuals = np.abs(result.residual * vectors[-1, order])
    return values[order], rotation @ result.basis, residuals


def smoothed_density(
    measures: list[tuple[np.ndarray, np.ndarray]], grid: np.ndarray, width: float
) -> np.ndarray:
    """Return the spectral density on a grid, each node a Gaussian of standard deviation `width`.

    Averaged over the measures; integrates to D over the real line. In the grid's own units: pass
    nodes and grid both as logarithms for a density per log-eigenvalue.
    """
    total = np.zeros_like(grid, dtype=np.float64)
    for nodes, weights in measures:
        z = (grid[:, None] - nodes) / width
        total += (np.exp(-0.5 * z**2) @ weights) / (width * np.sqrt(2 * np.pi))
    return total / len(measures)
