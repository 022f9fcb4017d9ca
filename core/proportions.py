"""Shares and how sure they are."""

import math


def wilson_interval(hits: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """The interval that holds the true share with the confidence of z standard deviations (95 %).

        (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    Args:
        hits: from 0 to `trials`.
        trials: at least 1.
        z: standard deviations of the normal distribution.

    Example:
        >>> low, high = wilson_interval(850, 1000)
        >>> round(low, 3), round(high, 3)
        (0.827, 0.871)

    Source: Wilson (1927), Probable inference, the law of succession, and statistical inference.
    """
    assert 0 <= hits <= trials and trials > 0, f"{hits} of {trials}"
    share = hits / trials
    middle = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    low, high = ((middle + side) / (1 + z * z / trials) for side in (-half, half))
    return max(0.0, low), min(1.0, high)
