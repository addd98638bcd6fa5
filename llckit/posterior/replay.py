"""`Replay`: batched gradients that are asked for again and again, recorded once and then run from the recording."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import vmap
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg

from llckit.posterior.compiling import Compiler, one_at_a_time
from llckit.posterior.flat_loss import Fixed, FlatLoss
from llckit.posterior.recording import Recording
from llckit.posterior.trees import Tree, leaves, rebuilt

WORTH = 40  # calls of a kind after which they are recorded: a recording takes the time of some forty calls
AWAY = 2**-6  # how far from the weights of the recorded call a recording is tried, too: any half precision sees it
MOST = 8  # kinds of calls that are counted and recorded

Found = tuple[Tensor, Tensor]  # losses and gradients
aten = torch.ops.aten


class _Call(NamedTuple):
    """The kind of a call, which a recording serves: how weights lie in memory, and own batches (None: all samples)."""

    weights: tuple[torch.Size, tuple[int, ...]]
    own: tuple[tuple[torch.Size, torch.dtype, tuple[int, ...]], ...] | None


class Replay:
    """Losses and gradients of all rows in one batched call: those of `FlatLoss.losses_and_grads`, to the last bit.

    For a small model a call costs several times its arithmetic: autograd, `vmap` and the model's own code run anew each
    time and arrive at the same list of tensor operations. After forty calls of a kind that list is recorded by
    `torch.fx` and run in their place. What does not depend on the weights is computed once.

    * Two calls are of one kind if their weights lie in memory alike and both take the batch of all samples: then
      nothing that a model does with the values of its data can differ. Calls with a batch for each row, whose values
      `vmap` hides from all code, are of one kind if their shapes agree.
    * A call in which a number, or the shape of a tensor, depends on the weights is not recorded.
    * A recording is used only if it repeats ordinary calls at two places bit by bit. With a compiler it is compiled, if
      the compiled one repeats a call up to rounding.
    * While a recording is made, all intermediate results of one call are in memory.

    Args:
        flat_loss: Model and loss.
        fixed: Tensors that are not sampled, by name.
        block: All samples as one batch; None if there is no such batch.
        compiler: Compiles recordings; None leaves them as they are.
    """

    def __init__(self, flat_loss: FlatLoss, fixed: Fixed, block: Tree | None, compiler: Compiler | None) -> None:
        self._flat_loss, self._fixed, self._block, self._compiler = flat_loss, fixed, block, compiler
        self._calls: dict[_Call, int] = {}
        self._recorded: dict[_Call, Callable[..., Any] | None] = {}

    def __call__(self, weights: Tensor, batch: Tree, *, own_batches: bool = False) -> Found:
        """Mean loss of a batch and its gradient.

        Args:
            weights: Shape (rows, dim).
            batch: One batch for all rows, or with `own_batches` one for each (leaves start with `rows`).
            own_batches: Whether every row has its own batch.

        Returns:
            float64 losses, shape (rows,), and gradients, shape (rows, dim).
        """
        inputs = leaves(batch) if own_batches else []
        own = tuple((x.shape, x.dtype, x.stride()) for x in inputs) if own_batches else None
        call = _Call((weights.shape, weights.stride()), own)
        comes_again = own_batches or batch is self._block
        recorded = self._recorded.get(call) if comes_again else None
        if recorded is not None:
            with torch.no_grad():
                return recorded(weights.detach(), *inputs)
        found = self._flat_loss.losses_and_grads(weights, self._fixed, batch, batched=True, own_batches=own_batches)
        if comes_again and call not in self._recorded and (call in self._calls or len(self._calls) < MOST):
            self._calls[call] = self._calls.get(call, 0) + 1
            if self._calls[call] == WORTH:
                self._recorded[call] = self._record(weights.detach(), batch, own_batches, found)
        return found

    def _record(self, weights: Tensor, batch: Tree, own_batches: bool, expected: Found) -> Callable[..., Any] | None:
        """The list of operations as a function of weights and own batches; None where there can be none."""
        ones = torch.ones(len(weights), dtype=torch.float64, device=weights.device)
        of_rows = vmap(self._flat_loss.mean, in_dims=(0, None, 0 if own_batches else None))
        fixed = self._fixed

        def call(weights: Tensor, *own: Tensor) -> Found:
            with torch.enable_grad():
                inside = weights.requires_grad_()
                given = rebuilt(batch, own) if own_batches else batch
                losses = of_rows(inside, fixed, given)
                (grads,) = torch.autograd.grad(losses, inside, ones)
            return losses.detach(), grads

        inputs = [weights, *(leaves(batch) if own_batches else [])]
        try:
            with one_at_a_time, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                copies = [x.clone(memory_format=torch.preserve_format) for x in inputs]
                with Recording(copies) as recording:
                    found = call(*copies)
                module = recording.module(found)
            _simplify(module)
            # Elsewhere, too: numbers that left torch, as through NumPy, are the same in a recording wherever it runs.
            away = weights * (1 + AWAY) + AWAY
            there = self._flat_loss.losses_and_grads(away, fixed, batch, batched=True, own_batches=own_batches)
            with torch.no_grad():  # twice: operations that write may have changed what was kept
                again = [module.forward(x, *inputs[1:]) for x in (weights, away)]
        except Exception:  # what cannot be recorded runs as before
            return None
        pairs = zip((*expected, *there), (*again[0], *again[1]), strict=True)
        equal = all(torch.equal(x, y) for x, y in pairs)
        kept = {x.untyped_storage().data_ptr() for x in (*inputs, *module.buffers(), *leaves(batch))}
        # Callers overwrite gradients, so memory that belongs to something else must not be handed out.
        shared = any(x.untyped_storage().data_ptr() in kept for x in again[0])
        if not equal or shared:
            return None
        compiled = None if self._compiler is None else self._compiler(module, inputs, expected)
        # Attributes of a module are slow to look up.
        return compiled or functools.partial(type(module).forward, SimpleNamespace(**dict(module.named_buffers())))


def _simplify(module: GraphModule) -> None:
    """Compute what is the same at every call once, and drop operations that do nothing.

    Args:
        module: The recorded operations; changed in place.
    """
    graph: Graph = module.graph
    known: dict[Node, Any] = {}
    for node in list(graph.nodes):
        if node.op == "get_attr":
            known[node] = getattr(module, str(node.target))
        elif node.op != "call_function":
            continue
        elif isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable:
            if node.args[0] in known:
                return  # memory that is written into is not the same at every call
        elif node.target is aten.detach.default or (node.target is aten.mul.Scalar and node.args[1] == 1):
            node.replace_all_uses_with(node.args[0])
        elif all(x in known for x in node.all_input_nodes):
            args, kwargs = map_arg((node.args, node.kwargs), known.__getitem__)
            known[node] = node.target(*args, **kwargs)
            for x in node.all_input_nodes:
                if all(user in known for user in x.users):
                    known[x] = None  # or all that a frozen part of the model computes would be in memory at once
    for node, value in known.items():
        if node.op == "call_function" and isinstance(value, Tensor) and any(user not in known for user in node.users):
            name = f"_kept_{node.name}"
            module.register_buffer(name, value)
            with graph.inserting_before(node):
                node.replace_all_uses_with(graph.get_attr(name))
    graph.eliminate_dead_code()
    module.recompile()
