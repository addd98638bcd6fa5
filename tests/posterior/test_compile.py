"""The switch `compile`: gradients up to rounding, kept apart from others, and never a reason to fail half-way."""

import shutil

import pytest
import torch
from torch import nn
from torch.fx import symbolic_trace

import llckit as lk
from llckit.llc import Scale
from llckit.llc.cache import describe
from llckit.llc.gradients import AllSamples, Cause, GradientsReason
from llckit.llc.scale_reason import LocalizationRule, NBetaRule, ScaleReason
from llckit.llc.settings import Settings
from llckit.posterior import LocalPosterior, compiling, load_reference, replay
from llckit.posterior.compiling import Compiler
from tests.cases import squared_error

N, ROWS, CALLS = 12, 3, 3
FILE = """
import torch
from torch import nn
import llckit as lk

x = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
task = lk.Task(nn.Linear(4, 2), (x, x[:, :2]), lambda m, b: (m(b[0]) - b[1]).square().mean(1))
"""


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(replay, "WORTH", CALLS)


class Fake:
    """In place of torch's compiler: what was recorded, with an error in proportion, and a count."""

    def __init__(self, error=0.0, failure=None):
        self.error, self.failure, self.modules, self.calls = error, failure, [], 0

    def __call__(self, module, inputs):
        self.modules.append(module)
        if self.failure is not None:
            raise self.failure

        def run(*inputs):
            self.calls += 1
            return tuple(x * (1 + self.error) for x in module(*inputs))

        return run


@pytest.fixture
def fake(monkeypatch):
    """Compiles in no time; the attempt that a `Task` begins with is not counted."""

    def install(**how):
        found = Fake(**how)
        monkeypatch.setattr(compiling, "try_compiling", lambda kind: None)
        monkeypatch.setattr(compiling, "compiled", found)
        return found

    return install


class Counting(nn.Module):
    """A net that counts its calls in a buffer, and writes into memory of its own."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, x):
        self.steps += 1
        return torch.relu_(self.net(x) + 0.1)


def small_task(model=None, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)) if model is None else model
    return lk.Task(model, (torch.randn(N, 4), torch.randn(N, 2)), squared_error, **options)


def replay_of(point):
    return replay.Replay(point.flat_loss, point.fixed, point.samples.block, point.compiler)


def rows_about(point, seed):
    away = torch.randn(ROWS, len(point.weights), generator=torch.Generator().manual_seed(seed))
    return point.weights + 0.1 * away.to(point.weights)


def differences(task, play, point, batch, seeds=range(3 * CALLS)):
    """Of gradients, relative to the largest; callers overwrite them."""
    found = []
    for seed in seeds:
        weights = rows_about(point, seed)
        _, grads = play(weights, batch)
        _, expected = point.flat_loss.losses_and_grads(weights, point.fixed, batch, batched=True)
        found.append(float((grads - expected).abs().max() / expected.abs().max()))
        grads.mul_(7.0)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="torch compiles by a C++ compiler")
def test_torch_compiles_what_was_recorded_once_for_all_checkpoints(monkeypatch):
    task = small_task(Counting(), compile=True)
    made = []
    original = compiling.compiled
    monkeypatch.setattr(compiling, "compiled", lambda *given: made.append(given) or original(*given))
    for scale in (1.0, 1.5):
        state = {name: scale * value for name, value in task.model.state_dict().items()}
        point = task.checkpoint(state)
        batch = point.samples.first(N)
        play = replay_of(point)
        found = differences(task, play, point, batch)
        assert found[:CALLS] == [0.0] * CALLS
        # rounding of sums over 12 samples and 5 hidden units, each a few times 2^-24
        assert max(found) < 64 * torch.finfo(torch.float32).eps
        before = point.fixed["steps"].clone()
        play(rows_about(point, 0), batch)
        assert point.fixed["steps"] == before + 1
    assert len(made) == 1


@pytest.mark.slow
def test_recordings_that_differ_are_compiled_each(fake):
    compiler = fake()
    task = small_task(compile=True)
    for size in (N, N - 1):
        point = task.checkpoint().thinned(size)
        play = replay_of(point)
        assert differences(task, play, point, point.samples.first(size)) == [0.0] * (3 * CALLS)
    assert len(compiler.modules) == 2
    assert compiler.calls == 2 * (2 + 2 * CALLS)  # two to check, then all calls


@pytest.mark.slow
def test_half_of_the_digits_have_to_agree(fake):
    compiler = fake(error=1e-5)
    task = small_task(compile=True)
    point = task.checkpoint()
    found = differences(task, replay_of(point), point, point.samples.first(N))
    assert found[-1] == pytest.approx(1e-5, rel=0.1)
    compiler.error = 1e-3  # sqrt(2^-23) is 3.5e-4
    other = replay_of(point)
    batch = point.samples.first(N)
    with pytest.warns(
        UserWarning, match="compile=True, but compiled gradients .* differ by more than 0.0003"
    ) as warned:
        found = differences(task, other, point, batch)
    assert found == [0.0] * (3 * CALLS)
    assert len(warned) == 1


@pytest.mark.slow
def test_what_cannot_be_compiled_is_played_uncompiled_with_one_warning(fake):
    compiler = fake(failure=RuntimeError("\nno such operation\nlong story"))
    task = small_task(compile=True)
    point = task.checkpoint()
    plays = [replay_of(point) for _ in range(2)]
    with pytest.warns(UserWarning, match=r"cannot compile this model's gradients \(no such operation\)") as warned:
        found = [differences(task, play, point, point.samples.first(N)) for play in plays]
    assert found == 2 * [3 * CALLS * [0.0]]
    assert len(warned) == len(compiler.modules) == 1
    for play in plays:
        (recorded,) = play._recorded.values()
        assert recorded.func.__name__ == "forward"


def test_a_result_that_is_the_kept_memory_is_not_handed_out(fake, monkeypatch):
    fake()
    module = symbolic_trace(lambda x: (x * 1.0,))
    x = torch.ones(3)
    monkeypatch.setattr(compiling, "compiled", lambda module, inputs: lambda x: (x,))
    assert Compiler(torch.device("cpu"))(module, [x], (x.clone(),)) is None


def test_without_a_compiler_a_task_says_so_before_anything_long(monkeypatch):
    def fail(module, inputs):
        raise RuntimeError("No working C++ compiler found\n\nSet TORCHDYNAMO_VERBOSE=1")

    monkeypatch.setattr(compiling, "compiled", fail)
    compiling.try_compiling.cache_clear()
    with pytest.raises(lk.InputError, match=r"for cpu here \(No working C\+\+ compiler found\); expected a C\+\+"):
        small_task(compile=True)
    small_task()


@pytest.mark.parametrize("given", [3, None, "yes"])
def test_compile_is_true_or_false(given, tmp_path):
    (tmp_path / "task.py").write_text(FILE)
    for call in (
        lambda: small_task(compile=given),
        lambda: lk.load_task(f"{tmp_path / 'task.py'}:task", compile=given),
        lambda: lk.estimate_llc(nn.Linear(4, 2), torch.randn(N, 4), lambda m, b: m(b).sum(), compile=given),
        lambda: lk.scale_profile(nn.Linear(4, 2), torch.randn(N, 4), lambda m, b: m(b).sum(), compile=given),
    ):
        with pytest.raises(lk.InputError, match=r"compile is .*; expected True or False"):
            call()


def test_other_tasks_of_the_same_model_and_other_processes_compile_too(fake, tmp_path):
    fake()
    (tmp_path / "task.py").write_text(FILE)
    name = f"{tmp_path / 'task.py'}:task"
    assert lk.load_task(name).compiler is None
    task = lk.load_task(name, compile=True)
    assert task.compiler is not None
    for made in (
        task,
        lk.behavioral_task(task),
        task.restricted("weight"),
        lk.behavioral_task(task.restricted("bias")),
    ):
        assert made.compiler is task.compiler  # one function serves all that have the same operations
        assert made.original.compiler is task.compiler
        assert made.reference.compile
        again = load_reference(made.reference)
        assert again.compiler is not None
        assert again.original.compiler is again.compiler
        assert (again.behavioral, [*again.layout.shapes]) == (made.behavioral, [*made.layout.shapes])


@pytest.mark.slow
def test_estimates_say_so_and_are_kept_apart(fake):
    compiler = fake(error=1e-6)
    torch.manual_seed(0)
    x = torch.randn(40, 3)
    given = nn.Linear(3, 1), (x, x[:, :1]), squared_error
    quick = {"n_beta": 40.0, "num_chains": 4, "num_burnin": 20, "num_draws": 30, "progress": False}
    plain, other = (lk.estimate_llc(*given, compile=switch, **quick) for switch in (False, True))
    assert compiler.calls
    assert (plain.how_found.compiled, other.how_found.compiled) == (False, True)
    assert plain.llc != other.llc
    assert other.llc == pytest.approx(plain.llc, abs=5 * (plain.mcse + other.mcse))
    rungs = lk.scale_profile(*given, compile=True, **quick | {"n_beta": [40.0]})
    assert rungs.estimates[0].how_found.compiled
    tasks = [small_task(compile=switch) for switch in (False, True)]
    scale = Scale(40.0, 1.0, ScaleReason(NBetaRule.GIVEN, LocalizationRule.GIVEN))
    gradients = AllSamples(GradientsReason(Cause.AFFORDABLE))
    described = [describe(task, scale, gradients, Settings()) for task in tasks]
    assert "compile" not in described[0]  # so that stores keep their keys
    assert described[1] == described[0] | {"compile": True}


@pytest.mark.slow
def test_a_posterior_of_one_row_and_of_own_batches_compiles(fake):
    compiler = fake()
    task = small_task(compile=True)
    posterior = LocalPosterior(task.checkpoint(), n_beta=10.0, localization=1.0, rows=ROWS)
    plain = LocalPosterior(small_task().checkpoint(), n_beta=10.0, localization=1.0, rows=ROWS)
    for seed in range(3 * CALLS):
        weights = rows_about(posterior.checkpoint, seed)
        indices = torch.randint(N, (ROWS, 4), generator=torch.Generator().manual_seed(seed))
        for given in (None, indices):
            for one, both in zip(posterior(weights, given), plain(weights, given), strict=True):
                assert torch.equal(one, both)
    assert len(compiler.modules) == 3  # all samples, own batches, and those at w* itself
