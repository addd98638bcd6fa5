import pytest
import torch

from llckit.sampling import Noise

LIKE = torch.zeros(1, dtype=torch.float64)
KINDS = {
    "normal": lambda noise: noise.normal(5),
    "uniform": lambda noise: noise.uniform(),
    "integers": lambda noise: noise.integers(10**6, 7),
}


def sequence(kind, seed, rows, times=3):
    noise = Noise(seed, rows, LIKE)
    return torch.stack([KINDS[kind](noise) for _ in range(times)], 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_the_same_in_any_number_of_rows(kind):
    assert torch.equal(sequence(kind, 3, 2), sequence(kind, 3, 9)[:2])


@pytest.mark.parametrize("kind", KINDS)
def test_rows_seeds_and_times_all_differ(kind):
    numbers = torch.cat([sequence(kind, seed, 4).reshape(12, -1) for seed in (0, 1, 2, 2**40)])
    assert len(torch.unique(numbers, dim=0)) == 48


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_numbers(kind):
    assert torch.equal(sequence(kind, 7, 3), sequence(kind, 7, 3))


def test_the_common_number_depends_on_the_seed_alone():
    def numbers(seed, rows):
        noise = Noise(seed, rows, LIKE)
        return [noise.common() for _ in range(4)]

    assert numbers(5, 1) == numbers(5, 8)
    assert numbers(5, 1) != numbers(6, 1)
    assert len(set(numbers(5, 1))) == 4


def test_the_common_number_does_not_move_the_rows():
    noise = Noise(0, 2, LIKE)
    noise.common()
    assert torch.equal(noise.normal(5), Noise(0, 2, LIKE).normal(5))


def test_streams_share_no_numbers():
    streams = [Noise(0, 4, LIKE, stream=stream) for stream in (0, 2)]
    numbers = [torch.cat([noise.normal(3).flatten(), torch.tensor([noise.common()])]) for noise in streams]
    assert len(torch.unique(torch.cat(numbers))) == 2 * (4 * 3 + 1)


def test_laws_and_types():
    noise = Noise(0, 4, torch.zeros(1, dtype=torch.float32))
    normal = noise.normal(10_000)
    integers = noise.integers(3, 10_000)
    uniform = torch.stack([noise.uniform() for _ in range(2_000)])
    assert normal.dtype == torch.float32
    assert uniform.dtype == torch.float64
    assert integers.dtype == torch.int64
    for row in normal:
        assert abs(row.mean()) < 4 / 100
        assert abs(row.var() - 1) < 4 * 2**0.5 / 100
    assert abs(torch.corrcoef(normal) - torch.eye(4)).max() < 4 / 100
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 4 * (1 / 12 / 8_000) ** 0.5
    assert torch.unique(integers).tolist() == [0, 1, 2]
    for k in range(3):
        assert abs((integers == k).double().mean() - 1 / 3) < 4 * (2 / 9 / 40_000) ** 0.5
