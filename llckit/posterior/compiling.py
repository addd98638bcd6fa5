"""`Compiler`: compiles recorded gradients, each list of operations once for all checkpoints and scales."""

from __future__ import annotations

import functools
import math
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node, symbolic_trace

from llckit.errors import InputError

# Held while torch records or compiles: it changes for the whole process how modules are called and warnings shown.
one_at_a_time = threading.Lock()

Player = Callable[..., tuple[Tensor, ...]]


class Compiler:
    """Compiles the recorded gradients of a task, and keeps what has been compiled.

    Compiling takes seconds, so all checkpoints of a curve and all scales of a profile share one compiled function: the
    tensors that a recording keeps, such as data, are inputs of it. On a GPU the function is one CUDA graph.

    Args:
        device: Where gradients are computed.

    Raises:
        InputError: torch cannot compile here.
    """

    def __init__(self, device: torch.device) -> None:
        try_compiling(device.type)
        self._compiled: dict[Any, Player | None] = {}
        self._warned = False

    def __call__(self, module: GraphModule, inputs: Sequence[Tensor], expected: Sequence[Tensor]) -> Player | None:
        """Compile recorded operations.

        Args:
            module: Recorded operations, which give a tuple of tensors.
            inputs: Example inputs; later inputs may differ from them only in their values.
            expected: What the operations give for these inputs. Compiled code rounds otherwise, and has to agree to
                half of the digits of the inputs' type, relative to the largest entry.

        Returns:
            The compiled function, which must be called without autograd; None if it cannot be compiled or does not
            agree. The first such case warns.
        """
        try:
            lifted, kept = _lifted(module)
            given = (*inputs, *kept)
            # The number of threads is part of the compiled code.
            key = lifted.code, *((x.shape, x.dtype, x.stride()) for x in given), torch.get_num_threads()
            with one_at_a_time:  # a second thread waits for what the first one compiles
                if key not in self._compiled:
                    try:
                        self._compiled[key] = compiled(lifted, given)
                    except Exception:
                        self._compiled[key] = None
                        raise
            run = self._compiled[key]
            if run is None:
                return None
            with torch.no_grad():  # twice: operations that write may have changed what was kept
                again = [run(*given) for _ in range(2)]
        except Exception as error:
            self._warn(f"torch cannot compile this model's gradients ({_first_line(error)})")
            return None
        tolerance = math.sqrt(torch.finfo(inputs[0].dtype).eps)
        if not all(_close(x, y, tolerance) for found in again for x, y in zip(found, expected, strict=True)):
            self._warn(
                f"compiled gradients of this model differ by more than {tolerance:.1g} from those of torch itself"
            )
            return None
        memory = {x.untyped_storage().data_ptr() for x in given}
        if any(x.untyped_storage().data_ptr() in memory for x in again[0]):  # callers overwrite gradients
            return None
        return lambda *inputs: run(*inputs, *kept)

    def _warn(self, what: str) -> None:
        if not self._warned:
            warnings.warn(f"compile=True, but {what}: they are computed without", stacklevel=2)
        self._warned = True


def compiled(module: GraphModule, inputs: Sequence[Tensor]) -> Player:
    """A list of operations as machine code; call it only while `one_at_a_time` is held.

    Args:
        module: The operations.
        inputs: Example inputs, whose shapes, types and strides the code is made for.

    Returns:
        A function that gives new tensors at each call.
    """
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        if inputs[0].device.type == "cuda":
            graphed = torch.compile(module, fullgraph=True, dynamic=False, mode="reduce-overhead")
            graphed(*inputs)
            # The next run of a CUDA graph overwrites what this one gave.
            return lambda *inputs: tuple(x.clone() for x in graphed(*inputs))
        # A list of operations needs no torch.compile, whose guards would run before every call.
        run: Any = torch._inductor.compile(module, list(inputs))
        return run


@functools.cache
def try_compiling(kind: str) -> None:
    """Compile next to nothing, to find out early whether anything is missing."""
    try:
        with one_at_a_time:
            compiled(symbolic_trace(lambda x: (x.sin(),)), [torch.ones(2, device=kind)])
    except Exception as error:
        raise InputError(
            f"compile is True, but torch cannot compile for {kind} here ({_first_line(error)}); expected a C++ "
            "compiler such as g++ (CXX may name it) or, for a GPU, Triton; install what is missing, or do not compile"
        ) from error


def _lifted(module: GraphModule) -> tuple[GraphModule, list[Tensor]]:
    """The same operations with the tensors that they keep as further inputs, and these tensors."""
    graph, at = Graph(), dict[Node, Node]()
    holders = [node for node in module.graph.nodes if node.op == "get_attr"]
    for node in module.graph.nodes:
        if node.op == "placeholder":
            at[node] = graph.node_copy(node)
    kept = {str(node.target): getattr(module, str(node.target)) for node in holders}
    odd = [name for name, value in kept.items() if not isinstance(value, Tensor)]
    if odd:
        raise TypeError(f"{odd[0]} is not a tensor")
    places = {name: graph.placeholder(f"kept_{i}") for i, name in enumerate(kept)}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            at[node] = places[str(node.target)]
        elif node.op != "placeholder":
            at[node] = graph.node_copy(node, at.__getitem__)
    return GraphModule(torch.nn.Module(), graph), list(kept.values())


def _close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    finite = expected[torch.isfinite(expected)]
    largest = float(finite.abs().max()) if len(finite) else 0.0
    return torch.allclose(found, expected, rtol=0.0, atol=tolerance * largest, equal_nan=True)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
