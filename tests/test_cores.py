import os

import pytest
import torch

from scssl import cores

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A machine of 8 cores on which nobody chose a number of threads; torch's own number comes back."""
    before = torch.get_num_threads()
    for name in cores.CHOSEN_BY:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cores, "_affinity", lambda: 8)
    torch.set_num_threads(8)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def quota(monkeypatch, tmp_path):
    monkeypatch.setattr(cores, "QUOTA", tmp_path / "cpu.max")
    return (tmp_path / "cpu.max").write_text


@pytest.mark.parametrize(
    ("text", "expected"), [("150000 100000\n", 1), ("300000 100000\n", 3), ("max 100000\n", 8), ("9900000 100000", 8)]
)
def test_container_limits_count(quota, text, expected):
    quota(text)
    assert cores.n_cores() == expected


def test_without_a_limit_the_cores_of_the_process_count(monkeypatch, tmp_path):
    monkeypatch.setattr(cores, "QUOTA", tmp_path / "nowhere")
    assert cores.n_cores() == 8


def test_threads_are_kept_to_the_cores_and_come_back(quota):
    quota("300000 100000\n")
    with cores.own_cores(CPU) as free:
        assert free
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == 8


def test_threads_come_back_after_an_error():
    def failing():
        with cores.own_cores(CPU):
            torch.set_num_threads(2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert torch.get_num_threads() == 8


def test_what_the_user_chose_stays(quota, monkeypatch):
    quota("100000 100000\n")
    with cores.own_cores(torch.device("cuda")) as free:
        assert (free, torch.get_num_threads()) == (False, 8)
    torch.set_num_threads(5)
    with cores.own_cores(CPU) as free:
        assert (free, torch.get_num_threads()) == (False, 5)
    torch.set_num_threads(8)
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "8")
    with cores.own_cores(CPU) as free:
        assert (free, torch.get_num_threads()) == (False, 8)


def test_threads_that_other_code_sets_are_taken_back():
    with cores.same_threads():
        torch.set_num_threads(2)
    assert torch.get_num_threads() == 8


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({8: 1.0, 4: 1.9, 2: 0.1}, 8),
        ({8: 1.0, 4: 0.9, 2: 0.1}, 8),
        ({8: 9.0, 4: 1.0, 2: 2.0}, 4),
        ({8: 9.0, 4: 5.0, 2: 2.0, 1: 1.0}, 1),
    ],
    ids=["fewer are slower", "hardly faster", "half is best", "one is best"],
)
def test_fewer_threads_are_taken_where_they_are_clearly_faster(seconds, expected):
    took = cores.fastest_threads(lambda: seconds[torch.get_num_threads()])
    assert torch.get_num_threads() == expected
    assert took == seconds[expected]
