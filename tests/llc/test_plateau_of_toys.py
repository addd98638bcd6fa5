"""Which scale `estimate_llc` settles on, where the answer is known; and when it looks for one."""

import math
import sys

import pytest
import torch

import llckit as lk
from llckit.llc import choose_scale
from llckit.llc.estimate_on_plateau import estimate_on_plateau
from llckit.llc.gradients import AllSamples, Cause, GradientsReason
from llckit.llc.settings import Settings
from llckit.toys import LinearNet, Quadratic, catalog, deepest_point, matrix_loss, potential_loss, quadratic_energy

single = sys.modules["llckit.llc.estimate_llc"]  # the package has the function of that name
ALL = AllSamples(GradientsReason(Cause.SAMPLER_GIVEN))
SETTINGS = Settings(num_chains=128, num_burnin=50, num_draws=100, sampler=lk.hmc(max_leapfrogs=20))


def search(model, loss_fn, localization=None, settings=SETTINGS):
    task = lk.Task(model, (torch.zeros(10_000, 1),), loss_fn)
    scale = choose_scale(task.checkpoint(), task.n, None, localization)
    keep = localization is not None
    return estimate_on_plateau(task, task.checkpoint(), scale, ALL, settings, keep_localization=keep)


@pytest.mark.slow
def test_a_quadratic_stays_at_the_default():
    model = Quadratic(torch.tensor([4.0, 2.0, 2.0, 1.0, 1.0, 0.5]))
    found = search(model, potential_loss)
    assert found.n_beta == pytest.approx(1e4 / math.log(1e4))
    assert "n_beta = n/ln(n), from which on the LLC is flat" in str(found.how_found.reason)
    assert found.llc == pytest.approx(
        quadratic_energy(model.curvatures, found.n_beta, found.localization), abs=4 * found.mcse
    )


@pytest.mark.slow
@pytest.mark.parametrize("rel_tol", [0.01, 0.2])
def test_a_quadratic_held_too_tight_climbs_however_sharp_it_should_be(rel_tol):
    # λ̂ = 5 t/(t + γ): 2.6, 4.6, 4.95, 4.995 at 1, 10, 100, 1000 n/ln n
    model = Quadratic(torch.ones(10))
    found = search(model, potential_loss, localization=1000.0, settings=Settings(rel_tol=rel_tol))
    assert found.n_beta == pytest.approx(100 * 1e4 / math.log(1e4))
    assert str(found.how_found.reason) == "n_beta = 100 n/ln(n), from which on the LLC is flat; localization given"
    assert found.llc == pytest.approx(5, rel=0.03)


@pytest.mark.slow
def test_a_linear_net_at_zero_is_not_left_at_the_default():
    toy = next(toy for toy in catalog() if toy.name == "linear 4-4-2 at zero")
    found = search(
        LinearNet(deepest_point((4, 4, 2), 0)), matrix_loss, localization=10.0, settings=Settings(num_chains=128)
    )
    at_default = toy.exact(1e4 / math.log(1e4), 10.0)
    assert at_default < 0.92 * toy.llc, "else nothing is tested"
    assert found.n_beta > 1e4 / math.log(1e4)
    assert found.llc == pytest.approx(toy.exact(found.n_beta, 10.0), abs=4.5 * found.mcse)
    assert abs(found.llc - toy.llc) < 0.5 * abs(at_default - toy.llc)


@pytest.mark.parametrize(("given", "searches"), [({"n_beta": 50.0}, 0), ({}, 1), ({"localization": 3.0}, 1)])
def test_a_given_nbeta_is_not_searched_for(monkeypatch, given, searches):
    calls = {"plateau": 0, "point": 0}

    def counted(name, function):
        def call(*args, **kwargs):
            calls[name] += 1
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(single, "estimate_on_plateau", counted("plateau", single.estimate_on_plateau))
    monkeypatch.setattr(single, "estimate_checkpoint", counted("point", single.estimate_checkpoint))
    quick = {"num_chains": 8, "num_burnin": 5, "num_draws": 8, "progress": False}
    found = lk.estimate_llc(Quadratic(torch.ones(2)), (torch.zeros(1000, 1),), potential_loss, **given, **quick)
    assert calls == {"plateau": searches, "point": 1 - searches}
    if not searches:
        assert found.n_beta == 50
        assert str(found.how_found.reason).startswith("n_beta given; localization")
    assert ("localization given" in str(found.how_found.reason)) == ("localization" in given)
