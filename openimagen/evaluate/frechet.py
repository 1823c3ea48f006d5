"""The Frechet distance between features taken for Gaussian (Heusel et al., 2017).

    |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^1/2

Any factors with C = F^T F give tr (C1 C2)^1/2 = |F1 F2^T|_*, the sum of singular values: no square
root of a product that is not symmetric, and nothing is squared only to be rooted again. F are the
centred features themselves if there are no more of them than dimensions, otherwise R of their QR.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from openimagen.evaluate.bootstrap import Estimate
from openimagen.evaluate.moments import Moments


def frechet(real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"]) -> Estimate:
    """The distance, in the features' units squared; exact, in float64; n, m >= 2.

    Its influences are exact too, the derivative of the nuclear norm being known.
    """
    apart = real.double().mean(0) - fake.double().mean(0)
    (real_rows, real_q, f1), (fake_rows, fake_q, f2) = _factored(real), _factored(fake)
    u, s, vh = torch.linalg.svd(f1 @ f2.T, full_matrices=False)
    value = _value(apart, real_rows.square().sum(), fake_rows.square().sum(), s)
    return Estimate(
        value,
        _influences(real_rows, apart, _rooted(real_q, u, s)),
        _influences(fake_rows, -apart, _rooted(fake_q, vh.T, s)),
    )


def frechet_of_moments(real: Moments, fake: Moments) -> float:
    """The distance where the features were not kept; ValueError for fewer than 2 pictures.

    Good to about 1e-8 with fewer pictures than dimensions: rounding, rooted, is no longer small.
    """
    norm = torch.linalg.svdvals(_root(real.covariance) @ _root(fake.covariance).T)
    traces = real.covariance.trace(), fake.covariance.trace()
    return _value(real.mean - fake.mean, *traces, norm)


def _value(apart: Tensor, trace1: Tensor, trace2: Tensor, singular: Tensor) -> float:
    return max(float(apart.square().sum() + trace1 + trace2 - 2 * singular.sum()), 0.0)


def _root(covariance: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """F with F^T F = C."""
    values, vectors = torch.linalg.eigh(covariance)
    return values.clamp(min=0).sqrt()[:, None] * vectors.T


def _factored(
    features: Float[Tensor, "n d"],
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n r"] | None, Float[Tensor, "r d"]]:
    """X, Q and F with X = Q F and C = F^T F; a Q of None is the identity."""
    rows = features.double()
    rows = (rows - rows.mean(0)) / (len(rows) - 1) ** 0.5
    if len(rows) <= rows.shape[1]:
        return rows, None, rows
    q, r = torch.linalg.qr(rows)
    return rows, q, r


def _rooted(q: Tensor | None, u: Float[Tensor, "r k"], s: Float[Tensor, "k"]) -> Float[Tensor, "n"]:
    """Diagonal of Q U S U^T Q^T, the root of X1 C2 X1^T."""
    return (u if q is None else q @ u).square() @ s


def _influences(
    rows: Float[Tensor, "n d"], apart: Float[Tensor, "d"], rooted: Float[Tensor, "n"]
) -> Float[Tensor, "n"]:
    """d FD / d weight of each row.

    With T the optimal map, dFD = 2 (m1 - m2) dm + tr (1 - T) dC (Dowson & Landau, 1982), and
    x T x^T is the diagonal of X T X^T = (X1 C2 X1^T)^1/2.
    """
    n = len(rows)
    bend = n * (rows.square().sum(1) - rooted)  # the rows have 1 / (n - 1) in their squares
    shift = 2 * (n - 1) ** 0.5 * (rows @ apart)
    return shift + bend - bend.mean()
