"""Wilson's interval against its definition."""

import numpy as np
import pytest

from ornstein.core.proportions import wilson_interval


@pytest.mark.parametrize(("hits", "trials"), [(0, 10), (1, 10), (85, 100), (999, 1000), (7, 7)])
def test_ends_are_where_the_share_is_z_deviations_away(hits, trials):
    for end in wilson_interval(hits, trials, z=1.5):
        deviation = np.sqrt(end * (1 - end) / trials)
        assert abs(hits / trials - end) == pytest.approx(1.5 * deviation, abs=1e-7)  # the root of rounding, at 0


def test_interval_of_nothing_and_of_all_stays_within_0_and_1():
    assert wilson_interval(0, 5)[0] == 0 and wilson_interval(5, 5)[1] == 1
