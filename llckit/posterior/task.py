"""`Task`: model, data and loss, checked at the door, as a function of one flat vector of weights."""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from llckit.errors import InputError
from llckit.posterior.compiling import Compiler
from llckit.posterior.data import Samples, Tree
from llckit.posterior.door import PROBE, check_loss
from llckit.posterior.restriction import Selection, restrict
from llckit.posterior.rows import losses_and_grads_of, losses_of

NAMES_SHOWN = 5
HALF = (torch.float16, torch.bfloat16)

LossFunction = Callable[[nn.Module, Any], Tensor]


class Point(NamedTuple):
    """One checkpoint: where sampling is centred.

    Attributes:
        weights: w*, the sampled parameters as one vector, shape (dim,).
        fixed: What is not sampled, parameters and buffers by name; of a parameter sampled in part, all of it.
        samples: The data that defines the loss there (the behavioral loss brings its own targets).
    """

    weights: Tensor
    fixed: dict[str, Tensor]
    samples: Samples

    def thinned(self, size: int, seed: int = 0) -> Point:
        """The same checkpoint with some of its samples, drawn without replacement; more hold fewer of the same seed.

        Args:
            size: How many to keep; all are kept where there are no more, or where single ones cannot be drawn.
            seed: Of the draw.

        Returns:
            The checkpoint.
        """
        if size >= self.samples.n or not self.samples.is_indexable:
            return self
        order = torch.randperm(self.samples.n, generator=torch.Generator().manual_seed(seed))
        return self._replace(samples=self.samples.subset(order[:size]))


class Reference(NamedTuple):
    """How another process makes the same task.

    Attributes:
        name: "file.py:NAME", as `load_task` takes it, with the file's whole path.
        digest: SHA-256 of the file.
        params: Which parameters it is restricted to; None for those of the file.
        behavioral: Whether it is the behavioral task.
        compile: Whether it was told to compile when it was loaded.
    """

    name: str
    digest: str
    params: tuple[str, ...] | None = None
    behavioral: bool = False
    compile: bool = False


class _Loss(nn.Module):
    """The loss as a module, so that `functional_call` swaps weights for whatever loss_fn does with the model."""

    def __init__(self, model: nn.Module, loss_fn: LossFunction) -> None:
        super().__init__()
        self.model = model
        self.loss_fn = loss_fn

    def forward(self, batch: Tree) -> Tensor:
        return self.loss_fn(self.model, batch)


class Task:
    """What is measured: a model, its data and its loss, with L(w) = mean loss over all samples.

    The model is copied and put in evaluation mode; the caller's stays as it is. Parameters with
    `requires_grad=True` are sampled, each once however many names it has (tied weights); the others and the buffers
    stay at the checkpoint's values. Half-precision models are sampled in float32.

    Args:
        model: The architecture, at w* or at any weights if checkpoints are loaded later.
        data: See `Samples`; of a Dataset that takes more than 4 GiB samples are read again at every pass.
        loss_fn: `loss_fn(model, batch)` giving the mean loss of the batch (a scalar) or one loss per sample
            (batch,), in the user's own unit (nats for cross-entropy).
        n: Number of samples in the statistical sense, if not the number of rows in `data` (for token losses: say
            whether sequences or tokens count).
        device: Where everything is computed; by default where the model is.
        params: Names or patterns such as "layers.0.*" of the parameters to sample, or boolean masks by name; the rest
            stays at the checkpoint. None samples all that train.
        compile: Whether gradients of all chains together that come again are compiled by torch: faster where the model
            is small, after some seconds to compile, and rounded otherwise. Models that run row by row (see
            `is_batched`) are left as they are.

    Attributes:
        n: Number of samples.
        dim: Number of sampled parameters.
        model: The copy, in evaluation mode.
        loss_fn: As given.
        samples: The data.
        original: The task itself; a behavioral task keeps the one it was made from.
        vmaps: Whether rows can run in one batched forward.
        reference: How another process makes the same task; None if it was not loaded from a file.
        compiler: Of gradients that come again; None without.

    Raises:
        InputError: The model has nothing to sample, or the loss is not a finite scalar or vector, does not depend
            on the parameters, or differs between two calls; or torch cannot compile here.
    """

    behavioral = False
    reference: Reference | None = None
    compiler: Compiler | None = None
    _original: Task | None = None

    def __init__(
        self,
        model: nn.Module,
        data: Any,
        loss_fn: LossFunction,
        *,
        n: int | None = None,
        device: torch.device | str | None = None,
        params: Selection = None,
        compile: bool = False,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise InputError(f"model is a {type(model).__name__}; expected a torch.nn.Module")
        if not callable(loss_fn):
            raise InputError(f"loss_fn is a {type(loss_fn).__name__}; expected loss_fn(model, batch) -> loss")
        if not isinstance(compile, bool):
            raise InputError(f"compile is {compile!r}; expected True or False")
        was_half = any(p.requires_grad and p.dtype in HALF for p in model.parameters())
        model, indices = _prepare(model, params)
        if device is None:
            device = next(model.parameters()).device
        try:
            self.device = torch.device(device)
            self.model = model.to(self.device)
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"device {device} cannot be used: {error}") from error
        self.loss_fn = loss_fn
        self.dtype = next(p.dtype for p in self.model.parameters() if p.requires_grad)
        self.samples = Samples(data, self.device, half_to=self.dtype if was_half else None)
        try:
            self.n = self.samples.n if n is None else n
            if isinstance(self.n, bool) or not isinstance(self.n, int) or self.n < 2:
                raise InputError(
                    f"n is {self.n!r}; expected at least 2 samples, since the inverse temperature 1/ln(n) needs "
                    "ln(n) > 0"
                )
            self._open(indices)
            self.compiler = Compiler(self.device) if compile else None
        except BaseException:  # or processes that read the data would stay
            self.samples.close()
            raise

    def _open(self, indices: dict[str, Tensor]) -> None:
        """Lay out the flat weights and try the loss."""
        self._module = _Loss(self.model, self.loss_fn)
        sampled = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.shapes = {name: p.shape for name, p in sampled.items()}
        self.indices = {name: index.to(self.device) for name, index in indices.items()}
        self.sizes = [len(self.indices[name]) if name in indices else p.numel() for name, p in sampled.items()]
        self.dim = sum(self.sizes)
        self.__dict__.pop("vmaps", None)  # of the task that this one may be a copy of
        with torch.enable_grad():
            check_loss(self)

    def restricted(self, params: Selection) -> Task:
        """The same task with only some parameters sampled.

        Args:
            params: See the class.

        Returns:
            A new task (of the user's loss; make it behavioral afterwards).

        Raises:
            InputError: A selection that the class refuses, or that shares nothing with the task's own.
        """
        task = copy.copy(self.original)
        task.model, indices = _prepare(self.original.model, params)
        for name, index in self.original.indices.items():
            if name in indices:
                indices[name] = index[torch.isin(index, indices[name].to(index.device))]
                if not len(indices[name]):
                    raise InputError(
                        f"the mask of {name} selects no entry that the task samples; expected some of them"
                    )
            elif task.model.get_parameter(name).requires_grad:
                indices[name] = index
        task._open(indices)
        if self.reference is not None:
            masked = isinstance(params, Mapping)
            task.reference = None if masked else self.reference._replace(params=(*task.shapes,), behavioral=False)
        return task

    @property
    def original(self) -> Task:
        """The task itself; a behavioral task keeps the one it was made from."""
        return self if self._original is None else self._original  # no cycle: data are let go with the task

    @functools.cached_property
    def vmaps(self) -> bool:
        """Whether rows can run in one batched forward; tried when it is first asked."""
        return self._can_vmap() if self.original is self else self.original.vmaps

    # -- checkpoints -------------------------------------------------------------------------------------------

    def check_names(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Compare a checkpoint's names and shapes with the model's.

        Args:
            shapes: Tensor shape by name.

        Raises:
            InputError: A name is missing, unknown, or has another shape.
        """
        own = {name: tuple(tensor.shape) for name, tensor in _tensors(self.model.state_dict()).items()}
        groups = self._tied()
        problems = [f"{name}: missing" for name in own if not any(n in shapes for n in groups.get(name, [name]))]
        problems += [f"{name}: not in the model" for name in shapes if name not in own]
        problems += [
            f"{name}: shape {tuple(shapes[name])}, the model has {shape}"
            for name, shape in own.items()
            if name in shapes and tuple(shapes[name]) != shape
        ]
        if problems:
            more = f"; and {len(problems) - NAMES_SHOWN} more" if len(problems) > NAMES_SHOWN else ""
            raise InputError(
                f"checkpoint does not fit the task's model: {'; '.join(problems[:NAMES_SHOWN])}{more}. "
                "Give the task the architecture the checkpoints were saved from"
            )

    def point(self, state: Mapping[str, Tensor] | None = None) -> Point:
        """Where to sample: the weights of a checkpoint, or the model's own.

        Args:
            state: A state dictionary with the model's names and shapes; None takes the model as given.

        Returns:
            The checkpoint in the coordinates that are sampled.

        Raises:
            InputError: Names or shapes differ, tied weights differ, or values are not finite.
        """
        own = _tensors(self.model.state_dict())
        state = own if state is None else _tensors(state)
        self.check_names({name: tuple(tensor.shape) for name, tensor in state.items()})
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        # Buffers may hold -inf: the mask of causal attention does.
        broken = [
            name
            for name, value in state.items()
            if not (torch.isfinite(value).all() if name in parameters else not torch.isnan(value).any())
        ]
        if broken:
            raise InputError(f"weights hold NaN or inf in {', '.join(broken[:NAMES_SHOWN])}: nothing can be estimated")
        given = dict(state)
        for name, group in self._tied().items():
            first = next(n for n in group if n in state)
            if name in state and not torch.equal(state[first], state[name]):
                raise InputError(f"{first} and {name} are one parameter in the model but differ in the checkpoint")
            given[name] = state[first]  # savers may keep only one of the names
        cast = {name: given[name].detach().to(self.device, tensor.dtype) for name, tensor in own.items()}
        flat = {name: cast[name].reshape(-1) for name in self.shapes}
        weights = torch.cat([x[self.indices[name]] if name in self.indices else x for name, x in flat.items()])
        partly = (name for name, p in self.model.named_parameters() if not p.requires_grad or name in self.indices)
        fixed = {name: cast[name] for name in partly}
        fixed |= {name: cast.get(name, b) for name, b in self.model.named_buffers()}
        return Point(weights, fixed, self.samples)

    def _tied(self) -> dict[str, list[str]]:
        """All names of each parameter, by each of its names."""
        groups: dict[int, list[str]] = {}
        named = list(self.model.named_parameters(remove_duplicate=False))
        for name, parameter in named:
            groups.setdefault(id(parameter), []).append(name)
        return {name: groups[id(parameter)] for name, parameter in named}

    # -- the loss as a function of flat weights ----------------------------------------------------------------

    def named(self, weights: Tensor, fixed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One vector of weights as the model's parameters and buffers.

        Args:
            weights: Shape (dim,).
            fixed: What is not sampled; of a parameter that is sampled in part, all of it.

        Returns:
            Tensors by name.
        """
        named = dict(fixed)
        for (name, shape), piece in zip(self.shapes.items(), torch.split(weights, self.sizes), strict=True):
            if name in self.indices:
                piece = torch.scatter(fixed[name].reshape(-1), 0, self.indices[name], piece)
            named[name] = piece.view(shape)
        return named

    def loss(self, weights: Tensor, fixed: Mapping[str, Tensor], batch: Tree) -> Tensor:
        """Mean loss of one batch at one vector of weights.

        Args:
            weights: Shape (dim,).
            fixed: What is not sampled.
            batch: One batch of the samples.

        Returns:
            A float64 scalar, differentiable in `weights`.
        """
        swapped = {f"model.{name}": value for name, value in self.named(weights, fixed).items()}
        losses = functional_call(self._module, swapped, (batch,))
        return losses.double().mean()

    def _can_vmap(self) -> bool:
        point = self.point()
        batch, _ = next(self.samples.chunks(PROBE))
        weights = torch.stack([point.weights, point.weights * (1 + 1e-3)])
        _, expected = losses_and_grads_of(self, weights, point, batch, batched=False)
        try:
            with warnings.catch_warnings():
                # The slow fallback of a missing batching rule speaks through a warning only.
                warnings.filterwarnings("error", message=".*batching rule.*")
                _, found = losses_and_grads_of(self, weights, point, batch, batched=True)
        except Exception:
            return False
        finally:  # a model that keeps its activations would keep those of a batched call, which nothing can copy
            losses_of(self, weights, point, batch, batched=False)
        largest = float(expected.nan_to_num(0.0, 0.0, 0.0).abs().max())
        return torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * largest, equal_nan=True)


def _tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    # Modules may keep extra state that is no tensor; it is never sampled.
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _separate(parent: nn.Module, seen: set[int]) -> None:
    """Where one module stands under two names, put a second one with the same parameters there."""
    # functional_call cannot restore a parameter that it meets twice in one module, only one that two modules share.
    for name, module in list(parent._modules.items()):
        if module is None:
            continue
        if id(module) in seen and any(True for _ in module.parameters()):
            module = copy.copy(module)
            for kind in ("_parameters", "_buffers", "_modules"):
                setattr(module, kind, dict(getattr(module, kind)))
            parent._modules[name] = module
        seen.add(id(module))
        _separate(module, seen)


def _prepare(model: nn.Module, params: Selection) -> tuple[nn.Module, dict[str, Tensor]]:
    """An evaluation-mode copy of `model` whose sampled parameters share one real floating type; see `restrict`."""
    try:
        model = copy.deepcopy(model).eval()
    except Exception as error:
        raise InputError(
            f"the model cannot be copied ({error}); expected an nn.Module that deepcopy accepts"
        ) from error
    _separate(model, set())
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in model.parameters()):
        raise InputError("the model has lazy parameters without a shape; run one batch through it first")
    indices = restrict(model, params)
    sampled = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not sum(p.numel() for p in sampled.values()):
        raise InputError("the model has no parameter with requires_grad=True: there is nothing to sample")
    odd = [f"{name} ({p.dtype})" for name, p in sampled.items() if not p.is_floating_point()]
    if odd:
        raise InputError(f"parameters are not real numbers: {', '.join(odd)}; expected floating-point parameters")
    types = {p.dtype for p in sampled.values()}
    if types != {torch.float64} and types != {torch.float32}:
        model = model.double() if torch.float64 in types else model.float()
    return model, indices
