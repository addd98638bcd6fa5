"""Steps in the names that training programs give to files, and names from which none can be read."""

import pytest
import torch

from llckit.errors import InputError
from llckit.store import checkpoints_by_step
from llckit.store.step_in_name import last_integer, step_in_name

from .states import saved_state


@pytest.mark.parametrize(
    ("stem", "step"),
    [
        ("epoch=3-step=1200", 1200),
        ("step-400", 400),
        ("global_step400", 400),
        ("steps_2000_lr0.1", 2000),
        ("2024-01-05_step_7", 7),
        ("step_12_seed_3", 12),
        ("step_1_loss=-0.5", 1),
        ("step 400 epoch 3", 400),
        ("iter_0000100", None),
    ],
)
def test_the_number_after_step(stem, step):
    assert step_in_name(stem) == step


@pytest.mark.parametrize(
    ("stem", "integer"),
    [
        ("iter_0000100", 100),
        ("checkpoint-500", 500),
        ("ckpt5", 5),
        ("epoch=3-loss=-0.5", 3),
        ("epoch=5-val_loss=1", 5),
        ("400_seed3", 400),
        ("mp_rank_00_model_states", None),
        ("run-2024-01-05_12-30-00-epoch-3", 3),
        ("ckpt_2024-01-05", None),
        ("model_v2", None),
        ("model-0676ba61", None),
        ("ckpt_10k", None),
        ("ckpt_1e5", None),
        ("ckpt_2e-3", None),
        ("final", None),
    ],
)
def test_the_last_integer_that_may_be_a_step(stem, integer):
    assert last_integer(stem) == integer


@pytest.mark.parametrize(
    "stem",
    ["step_1,000", "step_1_000", "step 1 000", "step_10'000", "step=-1", "step_-5", "step_10k", "step_1e5", "step_1.5"],
)
def test_a_step_that_is_no_plain_integer_is_refused(stem):
    with pytest.raises(InputError, match=r"step.* in its name is no integer; rename it to something like step_400"):
        step_in_name(stem)


@pytest.mark.parametrize(
    "stem", ["ckpt_1,000", "ckpt_1'000'000", "epoch=-1", "iter_-100", "ckpt_5_of_10", "ckpt_5of10"]
)
def test_an_integer_that_is_part_of_another_number_is_refused(stem):
    with pytest.raises(InputError, match="in its name is no integer"):
        last_integer(stem)


@pytest.mark.parametrize(
    ("beside", "step"),
    [
        ({"global_steps": 5}, 5),
        ({"iteration": 3000, "epoch": 2}, 3000),
        ({"global_step": 7, "iteration": 3000}, 7),
        ({"step": -1, "iteration": 20}, 20),
        ({"step": 0.5}, 9),
        ({"epoch": 4}, 9),
    ],
)
def test_the_step_beside_the_weights_goes_before_a_bare_integer_in_the_name(folder, beside, step):
    torch.save({"state_dict": saved_state(1), **beside}, folder / "model_9.pt")
    assert list(checkpoints_by_step(folder)) == [step]


def test_a_name_without_a_step_says_what_to_do(folder):
    torch.save(saved_state(1), folder / "model_v2.pth.tar")
    with pytest.raises(InputError, match=r"model_v2.pth.tar has no step in its name; .* like step_400.pth.tar"):
        checkpoints_by_step(folder)
