"""Matrices cut to a low rank, and which rank each gets for a size or a share of its energy.

The cut is the randomized range finder of Halko, Martinsson and Tropp (2011, algorithm 4.4, two power iterations): its
cost is a few products of the tensor with a narrow matrix, where a whole singular value decomposition of a 7B model
takes hours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lumos_edge.conversion.tensors import Array

_POWER_ITERATIONS = 2
OVERSAMPLING = 8  # columns beyond the rank, which make the range finder's error negligible
_ITEM_BYTES = 2  # float16


@dataclass(frozen=True)
class LowRank:
    """A matrix as `left @ right`, shapes `(rows, rank)` and `(rank, columns)`, each with the roots of the singular
    values; `energy` is the squared norm of the whole matrix.
    """

    name: str
    left: Array
    right: Array
    values: Array
    energy: float

    @property
    def rank(self) -> int:
        """How many singular values it has."""
        return len(self.values)

    @property
    def kept(self) -> float:
        """Share of the whole matrix's energy that this holds."""
        return min(float(_energies(self).sum()) / self.energy, 1.0)

    @property
    def bytes_per_rank(self) -> int:
        """What a singular value costs in a float16 file."""
        return int(self.left.shape[0] + self.right.shape[1]) * _ITEM_BYTES

    def cut(self, rank: int) -> LowRank:
        """The same with the largest `rank` singular values only."""
        return replace(self, left=self.left[:, :rank], right=self.right[:rank], values=self.values[:rank])

    def divided(self, scales: Array) -> LowRank:
        """With each column divided by its scale, and 0 where that is 0; energy and cut stay as they are."""
        inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales != 0)
        return replace(self, right=self.right * inverse)


def cut_matrix(name: str, matrix: Array, rank: int, rng: np.random.Generator) -> LowRank:
    """A float32 matrix with its largest singular values, `rank` at most. Memory: some `rank + 8` of its columns."""
    n_columns = min(rank + OVERSAMPLING, *matrix.shape)
    basis = np.linalg.qr(matrix @ rng.standard_normal((matrix.shape[1], n_columns), dtype=np.float32))[0]
    for _ in range(_POWER_ITERATIONS):
        basis = np.linalg.qr(matrix.T @ basis)[0]
        basis = np.linalg.qr(matrix @ basis)[0]
    left, values, right = np.linalg.svd(basis.T @ matrix, full_matrices=False)
    values = values[:rank]
    roots = np.sqrt(values)
    energy = float(np.vdot(matrix, matrix))
    return LowRank(name, basis @ left[:, :rank] * roots, roots[:, None] * right[:rank], values, energy)


def ranks_for_share(matrices: Sequence[LowRank], share: float) -> dict[str, int]:
    """The smallest ranks with which each matrix keeps that share of its own energy, or all that it has."""
    return {matrix.name: _rank_for_share(matrix, share) for matrix in matrices}


def ranks_for_size(matrices: Sequence[LowRank], size_bytes: int) -> dict[str, int]:
    """The largest rank that all matrices can have, as far as they have it, in `size_bytes` of values together."""
    rank = 0
    while rank < max(matrix.rank for matrix in matrices):
        size = sum(min(rank + 1, matrix.rank) * matrix.bytes_per_rank for matrix in matrices)
        if size > size_bytes:
            break
        rank += 1
    return {matrix.name: min(rank, matrix.rank) for matrix in matrices}


def _rank_for_share(matrix: LowRank, share: float) -> int:
    kept = np.cumsum(_energies(matrix)) / matrix.energy
    return min(int(np.searchsorted(kept, share)) + 1, matrix.rank) if share else 0


def cut_to(matrices: Sequence[LowRank], ranks: Mapping[str, int]) -> tuple[LowRank, ...]:
    """The matrices with those ranks, without the ones of rank 0."""
    return tuple(matrix.cut(ranks[matrix.name]) for matrix in matrices if ranks[matrix.name])


def _energies(matrix: LowRank) -> Array:
    squares: Array = matrix.values.astype(np.float64) ** 2
    return squares
