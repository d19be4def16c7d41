"""Maximum likelihood of models whose parameters are all positive."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from services.rfm_worker.lifetime.history import Floats

Check = Callable[[], None]
"""Called now and then during long work; raises to end it."""
AGREE = 0.05
"""Log-likelihood units within which two starts found the same optimum."""
EDGE = 1e-3
"""Logarithmic distance to a bound below which the optimum counts as lying on it."""


class NoConvergenceError(Exception):
    """No optimum was found that can be trusted."""


def fit_positive(
    cost: Callable[[Floats], float],
    starts: Sequence[Sequence[float]],
    bounds: Sequence[tuple[float, float]],
    *,
    customers: int,
    inside: Sequence[int],
    check: Check,
) -> tuple[float, ...]:
    """Parameters that minimise `cost`, searched on a logarithmic scale from every start.

    Args:
        cost: mean negative log-likelihood of a customer at positive parameters.
        bounds: least and largest value of each parameter.
        customers: how many `cost` is the mean of.
        inside: parameters that mean nothing at a bound.
        check: called at every evaluation.

    Raises:
        NoConvergenceError: fewer than two starts lead to the optimum, or it lies on a bound where it may not.
    """

    def of_logs(logs: Floats) -> float:
        check()
        value = cost(np.exp(logs))
        return value if np.isfinite(value) else 1e10

    limits = np.log(np.asarray(bounds, dtype=np.float64))
    found = [_search(of_logs, np.log(np.asarray(start, dtype=np.float64)), limits) for start in starts]
    best = min(found, key=lambda result: float(result.fun))
    agreeing = sum(customers * (result.fun - best.fun) < AGREE for result in found)
    near = np.minimum(best.x - limits[:, 0], limits[:, 1] - best.x) < EDGE
    if agreeing < min(2, len(starts)) or any(near[place] for place in inside):
        raise NoConvergenceError
    return tuple(float(value) for value in np.exp(best.x))


def _search(cost: Callable[[Floats], float], start: Floats, limits: Floats) -> OptimizeResult:
    first = np.clip(start, limits[:, 0], limits[:, 1])
    return minimize(
        cost, first, method="L-BFGS-B", bounds=list(map(tuple, limits)), options={"ftol": 1e-11, "gtol": 1e-6}
    )
