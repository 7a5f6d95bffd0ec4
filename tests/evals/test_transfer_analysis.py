"""What is made of scores: spreads, labels and compute at equal score, paying back."""

import math

import pytest

from toolkit.evals.transfer.analysis import Reach, Spread, apart, mean_curve, pay_back, reach, spread


def test_the_spread_of_known_scores() -> None:
    found = spread([0.70, 0.72, 0.74, 0.76, 0.78])
    assert found.mean == pytest.approx(0.74)
    assert found.std == pytest.approx(0.0316228, rel=1e-5)
    # Student's t for four degrees of freedom is 2.776445.
    assert found.half == pytest.approx(2.776445 * 0.0316228 / math.sqrt(5), rel=1e-5)
    assert found.low == pytest.approx(found.mean - found.half)


def test_one_seed_tells_no_spread() -> None:
    found = spread([0.5])
    assert found.mean == 0.5
    assert math.isnan(found.half)
    assert apart(found, spread([0.1, 0.11]), higher=True) is None


def test_intervals_apart_or_not_in_either_direction() -> None:
    high, low = Spread(0.8, 0.1, 0.75, 0.85, 3), Spread(0.6, 0.1, 0.55, 0.65, 3)
    assert apart(high, low, higher=True) is True
    assert apart(low, high, higher=True) is False
    assert apart(low, high, higher=False) is True
    assert apart(Spread(0.8, 0.1, 0.6, 1.0, 3), low, higher=True) is False


POINTS = [(10.0, 0.3), (100.0, 0.5), (1000.0, 0.7)]


@pytest.mark.parametrize(
    ("wanted", "value", "bound"),
    [
        (0.5, 100, "at"),
        (0.6, math.sqrt(100 * 1000), "at"),  # half way between 100 and 1000, over the logarithm
        (0.35, 10 ** (1 + 0.25), "at"),
        (0.2, 10, "at most"),
        (0.71, 1000, "more than"),
    ],
)
def test_labels_are_interpolated_over_their_logarithm(wanted: float, value: float, bound: str) -> None:
    found = reach(POINTS, wanted, higher=True, logarithmic=True)
    assert found.bound == bound
    assert found.value == pytest.approx(value)


def test_losses_are_reached_from_above_and_straight() -> None:
    curve = [(0.0, 3.0), (10.0, 2.0), (20.0, 1.0)]
    assert reach(curve, 1.5, higher=False) == Reach(15.0, "at")
    assert reach(curve, 3.5, higher=False) == Reach(0.0, "at most")
    assert reach(curve, 0.5, higher=False) == Reach(20.0, "more than")


def test_a_curve_that_falls_again_counts_where_it_first_came_up() -> None:
    assert reach([(1.0, 0.0), (2.0, 1.0), (3.0, 0.2)], 0.5, higher=True) == Reach(1.5, "at")


def test_fine_tunes_that_pay_the_pretraining_back() -> None:
    assert pay_back(1000.0, from_scratch=300.0, from_parent=100.0) == 5
    assert pay_back(1001.0, from_scratch=300.0, from_parent=100.0) == 6
    assert pay_back(1000.0, from_scratch=100.0, from_parent=100.0) is None
    assert pay_back(1000.0, from_scratch=50.0, from_parent=100.0) is None


def test_curves_are_averaged_point_by_point() -> None:
    assert mean_curve([[(1.0, 0.2), (2.0, 0.4)], [(1.0, 0.4), (2.0, 0.8), (3.0, 1.0)]]) == [
        (1.0, pytest.approx(0.3)),
        (2.0, pytest.approx(0.6)),
    ]
