"""`Recording`: the tensor operations of a call, written down while it runs."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_aggregate
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


class LeanMode(TorchDispatchMode):
    """Sees all tensor operations, without torch's compiler: to import that takes as long as a small estimate."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class Recording(LeanMode):
    """The tensor operations of a call as a `torch.fx` graph.

    `make_fx` of torch records too; it imports the compiler, and refuses numbers that a model takes from its data.

    Args:
        inputs: Tensors that differ from call to call; all others are kept as they are.
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self._graph, self._kept = Graph(), nn.Module()
        self._nodes: dict[int, Node] = {}
        self._alive: list[Tensor] = []  # or another tensor could take the identity of one that is no more
        self._varying: set[Node] = set()
        self._all_vary = False
        for i, x in enumerate(inputs):
            self._varying.add(self._name(x, self._graph.placeholder(f"input_{i}")))

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        node = self._graph.call_function(func, *map_aggregate((args, kwargs or {}), self._node_of))
        varies = self._all_vary or any(x in self._varying for x in node.all_input_nodes)
        if varies:
            self._varying.add(node)
            if _depends_on_values(func, args):
                raise ValueError(f"{func} gives a number, or a tensor whose shape, depends on the weights")
            # Other views of memory that is written into would have to vary, too.
            self._all_vary |= func._schema.is_mutable
        if isinstance(found, Tensor):
            self._name(found, node)
        elif isinstance(found, (tuple, list)):
            for i, x in enumerate(found):
                if isinstance(x, Tensor):
                    part = self._name(x, self._graph.call_function(operator.getitem, (node, i)))
                    if varies:
                        self._varying.add(part)
        return found

    def module(self, found: Sequence[Tensor]) -> GraphModule:
        """The operations as a function of the inputs that gives these results; the recording ends with it."""
        self._graph.output(tuple(self._node_of(x) for x in found))
        return GraphModule(self._kept, self._graph)

    def _name(self, x: Tensor, node: Node) -> Node:
        self._alive.append(x)
        self._nodes[id(x)] = node
        return node

    def _node_of(self, x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        if id(x) not in self._nodes:
            name = f"_given_{len(self._alive)}"
            self._kept.register_buffer(name, x)
            self._name(x, self._graph.get_attr(name))
        return self._nodes[id(x)]


def _depends_on_values(func: OpOverload, args: tuple[Any, ...]) -> bool:
    """Whether Python sees more of these arguments' values than tensors of a fixed shape."""
    if torch.Tag.data_dependent_output in func.tags:
        return True
    if torch.Tag.dynamic_output_shape not in func.tags:
        return False
    return func is not aten.index.Tensor or any(
        isinstance(x, Tensor) and x.dtype in (torch.bool, torch.uint8) for x in args[1]
    )
