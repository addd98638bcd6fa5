"""`behavioral_task`: the model as its own teacher, a loss of which every checkpoint is a minimum."""

from __future__ import annotations

from llckit.errors import InputError
from llckit.posterior.task import Task
from llckit.posterior.teacher import Teacher


def behavioral_task(task: Task) -> Task:
    """The same model and inputs, with the checkpoint's own outputs as targets.

    K(w) = c · mean_i KL(p_{w*}(x_i) ‖ p_w(x_i)) if the loss is invariant under adding a constant to a sample's
    outputs (a softmax), else K(w) = c · mean_i ‖f_w(x_i) − f_{w*}(x_i)‖². w* is a minimum with K(w*) = 0 by
    construction, at every scale; c makes the curvature in the outputs that of the user's loss, so that both agree where
    the loss is at a minimum (Bushnaq et al., arXiv 2405.10927, call this the behavioral loss).

    Outputs count as much as they do in the user's loss (see `OutputWeights`): not at all at padding, ignored labels and
    masked pixels, more for classes and samples of larger weight.

    Args:
        task: Its `loss_fn` must call `model(...)` once and use what it returns: a tensor, or an object with a tensor
            `.logits`; or a loss that the model computes from what its last layer gives. Logits, log-probabilities or
            numbers, not probabilities.

    Returns:
        A task of the same model, data and n (the task itself if it is behavioral already).

    Raises:
        InputError: This is not a task, the outputs cannot be observed, the loss is not curved in them, or there is no
            telling what each output counts.
    """
    if not isinstance(task, Task):
        raise InputError(f"task is a {type(task).__name__}; expected llckit.Task(model, data, loss_fn)")
    return task if task.behavioral else task.taught_by(Teacher(task.flat_loss))
