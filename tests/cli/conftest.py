import pytest
import torch
from torch import nn

from llckit.cli import main

TASK = """
import torch
from torch import nn
import llckit as lk

inputs = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
targets = inputs[:, :2].clone()
model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


def squared(model, batch):
    return (model(batch[0]) - batch[1]).square().mean(1)


task = lk.Task(model, (inputs, targets), squared)


def make():
    return task


not_a_task = 3
random_loss = lambda: lk.Task(model, (inputs, targets), lambda m, b: squared(m, b) * torch.rand(()))
detached = lambda: lk.Task(model, (inputs, targets), lambda m, b: squared(m, b).detach())
matrix = lambda: lk.Task(model, (inputs, targets), lambda m, b: (m(b[0]) - b[1]) ** 2)
infinite = lambda: lk.Task(model, (inputs, targets), lambda m, b: squared(m, b) / 0)
empty = lambda: lk.Task(model, (inputs[:0], targets[:0]), squared)
other_model = lambda: lk.Task(nn.Linear(4, 2), (inputs, targets), squared)
shuffling = lambda: lk.Task(
    model,
    torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, targets), batch_size=7, shuffle=True),
    squared,
)


class Augmented(torch.utils.data.Dataset):
    def __len__(self):
        return 60

    def __getitem__(self, index):
        return inputs[index] + torch.randn(4), targets[index]


augmented = lambda: lk.Task(model, Augmented(), squared)
"""


LINEAR_TASK = """
import torch
from torch import nn
import llckit as lk

inputs = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
task = lk.Task(nn.Linear(4, 2), (inputs, inputs[:, :2]), lambda m, b: (m(b[0]) - b[1]).square().mean(1))
"""


@pytest.fixture
def linear_task(tmp_path, monkeypatch):
    """A working directory of its own, with a task of one layer in task.py."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "task.py").write_text(LINEAR_TASK)
    return tmp_path


@pytest.fixture(scope="session")
def plain_training_script():
    """Makes what a stranger's script leaves behind."""

    def make(folder, count=10):
        torch.manual_seed(0)
        inputs = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
        model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        folder.mkdir()
        for step in range(count):
            torch.save(model.state_dict(), folder / f"step_{10 * step}.pt")
            for _ in range(10):
                optimizer.zero_grad()
                (model(inputs) - inputs[:, :2]).square().mean().backward()
                optimizer.step()

    return make


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, plain_training_script):
    """A folder with a task, the weights of a run and their store; each file of tests has its own."""
    place = tmp_path_factory.mktemp("stranger")
    (place / "task.py").write_text(TASK)
    plain_training_script(place / "weights")
    assert main(["import", str(place / "weights"), str(place / "run.ckpts")]) == 0
    return place


@pytest.fixture
def here(workplace, monkeypatch):
    """The same, as the working directory."""
    monkeypatch.chdir(workplace)
    return workplace
