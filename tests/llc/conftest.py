"""What the tests of this room share."""

import dataclasses
import math
import sys

import pytest
import torch
from torch import nn

import llckit as lk
from llckit.llc import choose_scale
from llckit.llc import estimate_on_plateau as plateau
from llckit.llc.estimate_on_plateau import FURTHER, estimate_on_plateau
from llckit.llc.settings import Settings
from llckit.toys import Quadratic, potential_loss
from tests.llc.ladders import ALL, DATA, DEFAULT, GAMMA, made_up
from tests.llc.runs import QUICK, TASK, new_store

curves = sys.modules["llckit.llc.estimate_curve"]  # the package has the function of that name


@pytest.fixture
def reference(tmp_path):
    (tmp_path / "task.py").write_text(TASK)
    return f"{tmp_path / 'task.py'}:task"


@pytest.fixture(scope="session")
def serial(tmp_path_factory):
    """The curve of one process, which others are compared with."""
    folder = tmp_path_factory.mktemp("serial")
    (folder / "task.py").write_text(TASK)
    return lk.estimate_curve(new_store(folder / "run.ckpts"), lk.load_task(f"{folder / 'task.py'}:task"), **QUICK)


@pytest.fixture
def store(tmp_path):
    torch.manual_seed(0)
    store = lk.CheckpointStore(tmp_path / "run.ckpts")
    for step in (0, 10, 20):
        store.save(step, nn.Linear(3, 2), loss=1.0)
    return store


@pytest.fixture
def calls(monkeypatch):
    """How often a checkpoint was really estimated."""
    made = []
    real = curves.estimate_checkpoint

    def counted(task, point, *args, **kwargs):
        made.append(point)
        return real(task, point, *args, **kwargs)

    monkeypatch.setattr(curves, "estimate_checkpoint", counted)
    return made


@pytest.fixture
def search(monkeypatch):
    """Runs the search over a made-up λ̂(nβ in n/ln n, γ in the default's); gives the estimate and the rungs visited.

    `changes` overrides what the estimate says at one rung (decade of nβ, decade of γ). The first estimate leans on γ
    and rises with nβ as told, all others do neither. A rung that is estimated again has the error that was asked for.
    """

    def run(curve, changes=None, *, leaning=0.0, rising=0.0, given=None, rel_tol=0.01):
        rungs = []

        class Chains:
            def __init__(self, task, checkpoint, scale, gradients, settings, *, start, progress, observe):
                self.scale, self.found = scale, None
                assert settings.num_burnin == (FURTHER if scale.localization < 0.99 * GAMMA else None)
                assert (start is None) == (not rungs), "all but the first go on from another"

            def estimate(self, settings):
                t, g = self.scale.n_beta / DEFAULT, self.scale.localization / GAMMA
                at = round(math.log10(t)), round(math.log10(g))
                rungs.append(at)
                if self.found is not None:  # asked again
                    assert settings.rel_tol == rel_tol
                    twice = 2 * self.found.grad_evals_total
                    return dataclasses.replace(self.found, mcse=rel_tol * self.found.llc, grad_evals_total=twice)
                assert settings.rel_tol == 0.02
                more = {name: getattr(self.scale, name) for name in ("n_beta", "localization", "reason")}
                if at == (0, 0):
                    more |= {"leaning": leaning, "rising": rising}
                self.found = dataclasses.replace(made_up(curve(t, g), **more), **(changes or {}).get(at, {}))
                return self.found

        monkeypatch.setattr(plateau, "CheckpointChains", Chains)
        task = lk.Task(Quadratic(torch.ones(2)), DATA, potential_loss)
        scale = choose_scale(task.checkpoint(), task.n, None, given)._replace(localization=GAMMA)
        settings = Settings(rel_tol=rel_tol)
        keep = given is not None
        found = estimate_on_plateau(task, task.checkpoint(), scale, ALL, settings, keep_localization=keep)
        return found, rungs

    return run
