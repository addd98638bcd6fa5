"""`restrict`: which parameters are sampled. All that train, some by name, or single entries by a mask."""

from __future__ import annotations

import fnmatch
import glob
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from llckit.errors import InputError

Selection = str | Iterable[str] | Mapping[str, Tensor] | None
NAMES_SHOWN = 8


def restrict(model: nn.Module, params: Selection) -> dict[str, Tensor]:
    """Leave `requires_grad` on where a parameter is sampled, at least in part, and take it off elsewhere.

    The restricted LLC keeps all other weights at w* (Wang et al., arXiv 2410.02984, call it weight-refined).

    Args:
        model: Changed in place.
        params: Names or patterns such as "layers.0.*", or boolean masks of the parameters' shapes by name; None
            leaves the model as it is.

    Returns:
        For each parameter that is sampled in part, the indices of the sampled entries in the flattened parameter.

    Raises:
        InputError: A name or pattern fits no parameter, a mask has the wrong shape or type, or nothing is selected.
    """
    if params is None:
        return {}
    # A tied parameter may be given by any of its names; it is sampled under the first.
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    named = {name: first[id(p)] for name, p in model.named_parameters(remove_duplicate=False) if p.requires_grad}
    masks: Mapping[str, Tensor | None]
    if isinstance(params, Mapping):
        masks = {_only(name, named): mask for name, mask in params.items()}
    else:
        patterns = [params] if isinstance(params, str) else list(params)
        masks = {name: None for pattern in patterns for name in _matching(pattern, named)}
    parameters = dict(model.named_parameters())
    indices: dict[str, Tensor] = {}
    for name, mask in masks.items():
        if mask is None:
            continue
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != parameters[name].shape:
            given = f"{mask.dtype} {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
            raise InputError(
                f"the mask of {name} is {given}; expected a boolean tensor of shape {tuple(parameters[name].shape)}"
            )
        if not mask.all():
            indices[name] = mask.flatten().nonzero().squeeze(1)
    empty = {name for name, index in indices.items() if not len(index)}
    if not set(masks) - empty:
        raise InputError("params selects no parameter; expected names, patterns, or masks with at least one True")
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in masks and name not in empty)
    return {name: index for name, index in indices.items() if name not in empty}


def _matching(pattern: str, named: Mapping[str, str]) -> list[str]:
    if not isinstance(pattern, str):
        raise InputError(f"params holds a {type(pattern).__name__}; expected names or patterns, or masks by name")
    found = [own for name, own in named.items() if fnmatch.fnmatchcase(name, pattern)]
    if not found:
        shown = ", ".join(list(named)[:NAMES_SHOWN]) + (" …" if len(named) > NAMES_SHOWN else "")
        raise InputError(f"params holds {pattern}, which fits no parameter that trains; expected some of {shown}")
    return found


def _only(name: str, named: Mapping[str, str]) -> str:
    return _matching(glob.escape(name), named)[0]
