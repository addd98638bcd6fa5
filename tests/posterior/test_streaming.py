"""Data read again at every pass: the same numbers as data in memory, bit for bit."""

import copy
import multiprocessing
import pickle
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import llckit as lk
import llckit.posterior.checkpoint as checkpoint_module
from llckit.errors import InputError
from llckit.posterior import LocalPosterior, Samples, Task, behavioral_task, streaming
from llckit.posterior.streaming import Stream
from llckit.posterior.trees import leaves

pytestmark = pytest.mark.slow
N = 45
X = torch.randn(N, 3, generator=torch.Generator().manual_seed(0))
Y = torch.randint(0, 4, (N,), generator=torch.Generator().manual_seed(1))


class Rows(Dataset):
    """Samples from a file, as far as anyone can tell: `broken` cannot be read."""

    def __init__(self, x=X, y=Y, broken=None):
        self.x, self.y, self.broken, self.asked = x.clone(), y, broken, []

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        self.asked.append(index)
        if index == self.broken:
            raise OSError("no such image: 29.png")
        return self.x[index], int(self.y[index])


class Noisy(Rows):
    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x + 0.1 * torch.randn(3), y


class Together(Rows):
    def __getitems__(self, indices):
        return [super(Together, self).__getitem__(i) for i in indices]


def as_dict(samples):
    return {"x": torch.stack([x for x, _ in samples]), "y": torch.tensor([y for _, y in samples])}


def pad(samples):
    return nn.utils.rnn.pad_sequence(samples, batch_first=True)


SENTENCES = [torch.arange(1.0, k + 1) for k in torch.randint(1, 9, (N,), generator=torch.Generator().manual_seed(2))]
FORMS = {
    "dataset": Rows(),
    "loader": DataLoader(Rows(), batch_size=7, shuffle=True),
    "single samples": DataLoader(Rows(), batch_size=1),
    "large batches": DataLoader(Rows(), batch_size=40),
    "collate": DataLoader(Rows(), batch_size=8, collate_fn=as_dict),
    "half": DataLoader(Rows(X.bfloat16()), batch_size=8),
    "together": DataLoader(Together(), batch_size=10),
    "padded": DataLoader(SENTENCES, batch_size=8, collate_fn=pad),  # pyright: ignore[reportArgumentType]
    "workers": DataLoader(Rows(), batch_size=8, num_workers=2),
}


def nll(model, batch):
    x, y = (batch["x"], batch["y"]) if isinstance(batch, dict) else batch
    return F.cross_entropy(model(x), y, reduction="none")


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4))


@pytest.fixture
def limit(monkeypatch):
    """Sets how many bytes of data are kept."""
    return lambda size: monkeypatch.setattr(streaming, "MEMORY_BYTES", size)


@pytest.fixture
def both(limit):
    """The same data kept, and read again at every pass."""
    opened = []

    def make(data, **how):
        kept = Samples(data, **how)
        limit(1)
        opened.append(Samples(data, **how))
        assert not isinstance(kept._source, Stream)
        assert isinstance(opened[-1]._source, Stream)
        return kept, opened[-1]

    yield make
    for samples in opened:
        samples.close()
    assert not multiprocessing.active_children()


def same(one, other):
    return type(one) is type(other) and all(
        torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(leaves(one), leaves(other), strict=True)
    )


@pytest.mark.parametrize("form", FORMS)
def test_chunks_are_those_of_data_in_memory(both, form):
    kept, read = both(FORMS[form], half_to=torch.float32)
    assert (read.n, read.is_indexable, read.reread) == (kept.n, kept.is_indexable, None)
    for size in (1, 5, 8, 20, 44, 45, 1000):
        for (a, k), (b, m) in zip(kept.chunks(size), read.chunks(size), strict=True):
            assert k == m
            assert same(a, b)
            # The place in a cache line decides how products are rounded.
            assert [x.data_ptr() % 64 for x in leaves(a)] == [x.data_ptr() % 64 for x in leaves(b)]
        assert same(kept.first(size), read.first(size))


def test_single_samples_subsets_and_pairs_are_those_of_data_in_memory(both, limit):
    kept, read = both(FORMS["workers"])
    pairs = [samples.paired(lambda batch: batch[0].sum(1), 10) for samples in (kept, read)]
    indices = torch.randint(0, N, (3, 11), generator=torch.Generator().manual_seed(3))
    for one, other in ((kept, read), pairs):
        assert same(one.gather(indices), other.gather(indices))
        for size in (1, 16, 100):
            for a, b in zip(one.chunks(size), other.chunks(size), strict=True):
                assert a[1] == b[1]
                assert same(a[0], b[0])
        part = one.subset(indices[0])
        again = part.subset(torch.tensor([4, 9, 4]))
        for few in (1, 2**20):  # read again, or kept
            limit(few)
            other_part = other.subset(indices[0])
            other_again = other_part.subset(torch.tensor([4, 9, 4]))
            assert isinstance(other_part._source, Stream) == isinstance(other_again._source, Stream) == (few == 1)
            for _ in range(2):
                assert same(part.first(20), other_part.first(20))
                assert same(again.first(20), other_again.first(20))
                assert same(part.gather(torch.tensor([[10], [0]])), other_part.gather(torch.tensor([[10], [0]])))


@pytest.mark.parametrize("form", ["dataset", "collate", "workers"])
@pytest.mark.parametrize("behavioral", [False, True])
def test_losses_and_gradients_are_the_same_bit_for_bit(model, limit, monkeypatch, form, behavioral):
    monkeypatch.setattr(checkpoint_module, "ACTIVATION_BYTES", 2**12)  # some chunks to a pass
    found = []
    for size in (2**32, 1):
        limit(size)
        task = Task(model, FORMS[form], nll)
        task = behavioral_task(task) if behavioral else task
        posterior = LocalPosterior(task.checkpoint(), n_beta=5.0, localization=1.0, rows=3)
        generator = torch.Generator().manual_seed(0)
        rows = task.checkpoint().weights + 0.1 * torch.randn(3, task.dim, generator=generator)
        energy = posterior(rows)
        noisy = posterior(rows, torch.randint(0, N, (3, 6), generator=generator))
        few = task.checkpoint().thinned(10)
        found.append([*energy, *noisy, posterior.without_gradient(rows).excess, *leaves(few.samples.first(10))])
        task.samples.close()
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"batch_size": 20},
        {"subset": 40, "behavioral": True},
        {"batch_size": 9, "sampler": lk.sgld(step_size=1e-3)},
        {"behavioral": True},
    ],
    ids=["full", "guided", "subset", "noisy", "behavioral"],
)
def test_estimates_are_the_same_bit_for_bit(model, limit, monkeypatch, settings):
    monkeypatch.setattr(checkpoint_module, "ACTIVATION_BYTES", 2**13)
    asked = {"n_beta": 20.0, "localization": 1.0, "num_chains": 2, "num_draws": 8, "num_burnin": 5} | settings
    found = []
    for size in (2**32, 1):
        limit(size)
        found.append(lk.estimate_llc(model, FORMS["loader"], nll, progress=False, **asked))
    one, other = found
    assert one.outcome == other.outcome
    assert np.array_equal(one.trace.excess, other.trace.excess)
    assert (one.llc, one.loss, one.grad_norm, one.depth) == (other.llc, other.loss, other.grad_norm, other.depth)


def test_an_estimate_leaves_no_worker_behind(model, limit):
    limit(1)
    lk.estimate_llc(model, FORMS["workers"], nll, n_beta=9.0, localization=1.0, num_draws=4, num_burnin=1)
    assert not multiprocessing.active_children()


def test_workers_stay_from_pass_to_pass_until_they_are_closed(both):
    _, read = both(FORMS["workers"])
    assert not any(x.is_shared() for batch, _ in read.chunks(8) for x in leaves(batch))  # each would hold a file open
    workers = {child.pid for child in multiprocessing.active_children()}
    assert len(workers) == 2
    whole = read.first(N)
    for size in (20, 3):
        next(read.chunks(size))  # a pass that nobody ends
        assert same(read.first(N), whole)
    assert same(read.gather(torch.arange(N)), whole)
    assert {child.pid for child in multiprocessing.active_children()} == workers
    read.close()
    assert not multiprocessing.active_children()
    assert same(read.first(N), whole)
    assert workers.isdisjoint(child.pid for child in multiprocessing.active_children())


def test_two_passes_at_a_time_do_not_mix(both):
    kept, read = both(FORMS["workers"])
    for (a, _), (b, _), (c, _) in zip(kept.chunks(6), read.chunks(6), read.chunks(6), strict=True):
        assert same(a, b)
        assert same(a, c)


def test_workers_read_what_is_kept_then_end():
    kept = Samples(DataLoader(Rows(), batch_size=8, num_workers=2))
    assert not multiprocessing.active_children()
    assert same(kept.first(N), Samples(Rows()).first(N))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda samples: pickle.loads(pickle.dumps(samples))])
def test_copies_travel_without_workers(both, duplicate):
    _, read = both(FORMS["workers"])
    twin = duplicate(read)
    assert len(multiprocessing.active_children()) == 2
    assert same(twin.first(N), read.first(N))
    twin.close()


def test_reading_takes_nothing_from_the_global_random_numbers(both):
    state = torch.get_rng_state()
    _, read = both(FORMS["workers"])
    read.first(N)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_first_samples_are_not_read_again_and_the_rest_is(limit):
    limit(1)
    rows = Rows()
    read = Samples(DataLoader(rows, batch_size=5))
    rows.asked.clear()
    next(read.chunks(16))
    assert not rows.asked
    read.first(N)
    assert rows.asked == [*range(20, N)]  # four batches hold the first sixteen


def test_one_pass_serves_all_rows(model, limit, monkeypatch):
    limit(1)
    monkeypatch.setattr(checkpoint_module, "ACTIVATION_BYTES", 2**12)
    rows = Rows()
    task = Task(model, DataLoader(rows, batch_size=20), nll)
    posterior = LocalPosterior(task.checkpoint(), n_beta=5.0, localization=1.0, rows=4)
    _ = posterior.checkpoint.loss
    rows.asked.clear()
    posterior(task.checkpoint().weights.repeat(4, 1))
    assert rows.asked == [*range(20, N)]


def test_the_limit_is_what_the_first_batch_says_of_all(limit):
    nbytes = 8 * (X.element_size() * 3 + 8) * 6  # six batches of eight samples, the last of them not full
    for size, streams in ((nbytes, False), (nbytes - 1, True)):
        limit(size)
        assert isinstance(Samples(DataLoader(Rows(), batch_size=8))._source, Stream) == streams


def test_chunks_hold_no_more_than_their_limit(both, monkeypatch):
    _, read = both(FORMS["loader"])
    monkeypatch.setattr(streaming, "CHUNK_BYTES", 10 * 20 + 19)  # ten samples of 20 bytes
    assert [size for _, size in read.chunks(1000)] == [10, 10, 10, 10, 5]
    values = read.paired(lambda batch: batch[1], 1000)
    assert torch.equal(torch.cat([batch[1] for batch, _ in values.chunks(7)]), Y)


def test_tensors_of_a_dataset_are_in_memory_already(limit):
    limit(1)
    data = TensorDataset(X, Y)
    kept = Samples(DataLoader(data, batch_size=8, num_workers=2))
    assert [x.data_ptr() for x in leaves(kept.first(N))] == [X.data_ptr(), Y.data_ptr()]
    assert not multiprocessing.active_children()


def test_batches_that_happen_to_be_padded_alike_hold_no_single_samples(both):
    pairs = [torch.ones(k) for k in (2, 9) * 20]
    kept, read = both(DataLoader(pairs, batch_size=2, collate_fn=lambda s: pad(s[::-1])))  # pyright: ignore[reportArgumentType]
    assert same(kept.first(7), read.first(7))
    assert not read.is_indexable
    with pytest.raises(InputError, match="single samples cannot be drawn"):
        read.gather(torch.tensor([0]))


def test_a_rare_shape_of_a_drawn_batch_is_refused(both):
    long = [torch.ones(9) for _ in range(400)]
    long[1] = torch.ones(3)
    _, read = both(DataLoader(long, batch_size=4, collate_fn=pad))  # pyright: ignore[reportArgumentType]
    assert read.gather(torch.tensor([0, 1])).shape == (2, 9)
    with pytest.raises(InputError, match="other shapes to batches of samples drawn at random"):
        read.gather(torch.tensor([1]))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("size", [1, 2**32])
def test_a_sample_that_cannot_be_read_is_named(model, limit, workers, size):
    limit(size)
    data = DataLoader(Rows(broken=29), batch_size=8, num_workers=workers)
    expected = "reading samples 24 to 31 of the data (DataLoader) failed: OSError: no such image: 29.png; expected"
    with pytest.raises(InputError, match=re.escape(expected)):
        Task(model, data, nll)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [0, 2])
def test_augmentation_is_noticed(model, limit, workers):
    limit(1)
    with pytest.raises(InputError, match=r"reading the same indices twice gives two losses.*augments at random"):
        Task(model, DataLoader(Noisy(), batch_size=8, num_workers=workers), nll)


def test_data_that_change_between_passes_are_refused(limit):
    limit(1)
    rows = Rows()
    read = Samples(DataLoader(rows, batch_size=20))
    rows.x[27] += 1e-6
    with pytest.raises(InputError, match="samples 20 to 39 of the data are not what they were"):
        read.first(N)
    rows.x = rows.x[:40]
    with pytest.raises(InputError, match=r"\(DataLoader\) had 45 samples when they were first read and has 40 now"):
        read.first(N)


def test_a_stream_is_told_what_to_be(model):
    class Lines(IterableDataset):
        def __iter__(self):
            yield from X

    with pytest.raises(InputError, match=r"Lines that cannot be indexed.*read again at every pass.*__getitem__\(i\)"):
        Task(model, Lines(), nll)
