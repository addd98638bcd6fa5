"""`Layout`: which parameters are sampled, and how named tensors become one flat vector."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from llckit.errors import InputError
from llckit.posterior.checkpoint_names import CheckpointNames
from llckit.posterior.number_kinds import can_become, comparable, has_fractions_for, is_broken

NAMES_SHOWN = 5


class Layout:
    """The order in which a model's sampled parameters stand in one flat vector.

    Args:
        model: Its parameters with `requires_grad=True` are sampled; the others and the buffers are fixed.
        indices: For parameters that are sampled in part, the sampled entries of the flattened parameter.

    Attributes:
        shapes: Shape of each sampled parameter by its name, in the order of the vector.
        indices: Sampled entries by name, for parameters that are sampled in part.
        sizes: Number of sampled entries of each parameter, in the same order.
        dim: Length of the vector.
        tied: All names of each parameter, by each of its names.
        dtype: Type of the sampled parameters.
        device: Where they are.
    """

    def __init__(self, model: nn.Module, indices: Mapping[str, Tensor]) -> None:
        sampled = {name: p for name, p in model.named_parameters() if p.requires_grad}
        first = next(iter(sampled.values()))
        self.dtype, self.device = first.dtype, first.device
        self.shapes = {name: p.shape for name, p in sampled.items()}
        self.indices = {name: index.to(self.device) for name, index in indices.items()}
        self.sizes = [len(self.indices[name]) if name in indices else p.numel() for name, p in sampled.items()]
        self.dim = sum(self.sizes)
        named = list(model.named_parameters(remove_duplicate=False))
        groups: dict[int, list[str]] = {}
        for name, parameter in named:
            groups.setdefault(id(parameter), []).append(name)
        self.tied = {name: groups[id(parameter)] for name, parameter in named}
        self._names = CheckpointNames(model)
        own = self._names.tensors()
        self._own_shapes = {name: tuple(tensor.shape) for name, tensor in own.items()}
        self._own_types = {name: tensor.dtype for name, tensor in own.items()}
        self._fixed = [name for name, p in model.named_parameters() if not p.requires_grad or name in self.indices]
        self._model = model

    def check_names(
        self, shapes: Mapping[str, tuple[int, ...]], types: Mapping[str, torch.dtype] | None = None
    ) -> None:
        """Compare a checkpoint's names, shapes and types with the model's.

        Args:
            shapes: Tensor shape by name.
            types: Tensor type by name; None leaves types out.

        Raises:
            InputError: A name is missing, unknown, or has another shape, or a type that cannot be that of the model.
        """
        names = self._names.own(shapes)
        shapes = {own: shapes[name] for name, own in names.items()}
        types = {} if types is None else {own: types[name] for name, own in names.items()}
        own = self._own_shapes
        problems = [f"{name}: missing" for name in own if not any(n in shapes for n in self.tied.get(name, [name]))]
        problems += [f"{name}: not in the model" for name in shapes if name not in own]
        problems += [
            f"{name}: shape {tuple(shapes[name])}, the model has {shape}"
            for name, shape in own.items()
            if name in shapes and tuple(shapes[name]) != shape
        ]
        if problems:
            more = f"; and {len(problems) - NAMES_SHOWN} more" if len(problems) > NAMES_SHOWN else ""
            raise InputError(
                f"the checkpoint does not fit the task's model ({'; '.join(problems[:NAMES_SHOWN])}{more}); "
                "expected the architecture that the checkpoints were saved from"
            )
        if problems := [
            f"{name} is {types[name]}, the model's {dtype}"
            for name, dtype in self._own_types.items()
            if name in types and not can_become(types[name], dtype, is_parameter=name in self.tied)
        ]:
            raise InputError(
                "the checkpoint holds other kinds of numbers than the task's model "
                f"({'; '.join(problems[:NAMES_SHOWN])}); expected floating-point weights, neither complex nor quantized"
            )

    def own_state(self) -> dict[str, Tensor]:
        """The model's own parameters and persistent buffers by name."""
        return {name: tensor.detach() for name, tensor in self._names.tensors().items()}

    def split(self, state: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """A state dictionary as sampled weights and all the rest.

        Args:
            state: Tensors by the model's names, or those that wrappers give them; of tied weights one name is enough.

        Returns:
            The sampled weights, shape (dim,), and what is fixed by name: parameters that are not sampled or sampled in
            part, and buffers. Tensors that have the right type and device already are shared, not copied.

        Raises:
            InputError: Names or shapes differ, tied weights differ, or values are not finite or no real numbers.
        """
        given = {name: value for name, value in state.items() if isinstance(value, Tensor)}
        # Autograd cannot save what was made in inference mode.
        given = {name: value.clone() if value.is_inference() else value for name, value in given.items()}
        self.check_names({n: tuple(t.shape) for n, t in given.items()}, {n: t.dtype for n, t in given.items()})
        state = {own: given[name] for name, own in self._names.own(given).items()}
        self._check_values(state)
        given = dict(state)
        for name, group in self.tied.items():
            first = next(n for n in group if n in state)
            if name != first and name in state and not torch.equal(comparable(state[first]), comparable(state[name])):
                raise InputError(
                    f"{first} and {name} differ in the checkpoint; expected the same values, as they are one parameter "
                    "in the model"
                )
            given[name] = state[first]  # savers may keep only one of the names
        cast = {name: given[name].detach().to(self.device, dtype) for name, dtype in self._own_types.items()}
        fixed = {name: cast[name] for name in self._fixed}
        fixed |= {name: cast.get(name, buffer) for name, buffer in self._model.named_buffers()}
        return self.flat(cast[name] for name in self.shapes), fixed

    def _check_values(self, state: Mapping[str, Tensor]) -> None:
        # Buffers may hold -inf: the mask of causal attention does.
        broken = [name for name, value in state.items() if is_broken(value, is_parameter=name in self.tied)]
        if broken:
            raise InputError(f"weights hold NaN or inf in {', '.join(broken[:NAMES_SHOWN])}; expected finite numbers")
        if cut := [name for name, value in state.items() if has_fractions_for(value, self._own_types[name])]:
            raise InputError(
                f"the checkpoint holds fractions in {', '.join(cut[:NAMES_SHOWN])}, which are integers in the task's "
                f"model; expected the architecture that the checkpoints were saved from"
            )

    def flat(self, tensors: Iterable[Tensor], out: Tensor | None = None) -> Tensor:
        """One vector from a tensor for each sampled parameter, such as its weights or its gradient.

        Args:
            tensors: Whole parameters, in the order of `shapes`.
            out: Where the vector is written, shape (dim,); None takes new memory.

        Returns:
            The sampled entries, shape (dim,).
        """
        pieces = (
            tensor.reshape(-1)[self.indices[name]] if name in self.indices else tensor.reshape(-1)
            for name, tensor in zip(self.shapes, tensors, strict=True)
        )
        return torch.cat([*pieces], out=out)

    def named(self, weights: Tensor, fixed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One vector of weights as the model's parameters and buffers.

        Args:
            weights: Sampled weights, shape (dim,).
            fixed: Tensors that are not sampled; of a parameter that is sampled in part, all of it.

        Returns:
            Tensors by name.
        """
        named = dict(fixed)
        for (name, shape), piece in zip(self.shapes.items(), torch.split(weights, self.sizes), strict=True):
            if name in self.indices:
                piece = torch.scatter(fixed[name].reshape(-1), 0, self.indices[name], piece)
            named[name] = piece.view(shape)
        return named
