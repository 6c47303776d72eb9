import pytest

from scssl.training.finetuning import FineTuning


@pytest.mark.parametrize(
    ("n_cells", "scratch", "expected"),
    [
        # 200 steps of 8 cells are more than 5 epochs; five folds, and once more on all.
        (80, False, 6 * 200 * 8),
        (80, True, 2 * 200 * 8),
        # 200 steps of 256 are more than 5 epochs of 2,000 cells, 5 epochs of 20,000 more than those.
        (2000, False, 2 * 200 * 200),
        (20_000, False, 2 * 5 * 20_000),
        (20_000, True, 2 * 5 * 20_000),
    ],
)
def test_the_cells_seen_are_those_of_all_trainings(n_cells, scratch, expected):
    assert FineTuning().cells_seen(n_cells, scratch=scratch) == expected


def test_where_nothing_competes_there_is_one_training():
    assert FineTuning(blends=(1.0,)).cells_seen(20_000) == 5 * 20_000


@pytest.mark.parametrize(("n_cells", "scratch", "expected"), [(60, False, 1200), (60, True, 400), (390, False, 1200)])
def test_few_cells_take_as_many_steps_as_some(n_cells, scratch, expected):
    assert FineTuning().steps(n_cells, scratch=scratch) == expected


def test_a_few_cells_take_time_by_their_steps_and_many_by_their_products():
    from scssl.study.estimate import STEP, seconds_to_tune

    assert seconds_to_tune(60, weights=1000, scratch=True) == pytest.approx(400 * STEP, rel=0.01)
    few, many = (seconds_to_tune(n, weights=20_000 * 512, scratch=True) for n in (20_000, 40_000))
    assert many == pytest.approx(2 * few)
