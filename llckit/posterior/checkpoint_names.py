"""`CheckpointNames`: the tensors of a model, and under which names a checkpoint may hold them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import Tensor, nn

from llckit.unwrap import is_counter, is_extra_state, name_to_match


class CheckpointNames:
    """The names of a model's parameters and persistent buffers, in the order of a state dict, and other names of them.

    Other names come from hooks that rename the entries of `state_dict()`, and from the wrappers that training puts
    around a model or parts of it.

    Args:
        model: The bare model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        own = self.tensors()
        first = {id(tensor): name for name, tensor in reversed(own.items())}
        self._renamed: dict[str, str] = {}
        self._ignored: set[str] = set()  # what hooks add
        for name, value in model.state_dict(keep_vars=True).items():
            if name not in own:
                if id(value) in first:
                    self._renamed[name] = first[id(value)]
                else:
                    self._ignored.add(name)
        matches: dict[str, list[str]] = {}
        for name in own:
            matches.setdefault(name_to_match(name), []).append(name)
        self._matches = {match: names[0] for match, names in matches.items() if len(names) == 1}

    def tensors(self) -> dict[str, Tensor]:
        """The model's parameters and persistent buffers by name, under all names of those that are tied."""
        return dict(_tensors(self._model))

    def own(self, names: Iterable[str]) -> dict[str, str]:
        """The model's names of a checkpoint's tensors.

        Args:
            names: The checkpoint's names.

        Returns:
            For each name that is not to be ignored, the model's; or the same name if the model has no such tensor.
        """
        own = self.tensors()
        found: dict[str, str] = {}
        for name in names:
            if name in own:
                found[name] = name
            elif name in self._renamed:
                found[name] = self._renamed[name]
            elif not (is_extra_state(name) or is_counter(name) or name in self._ignored):
                found[name] = self._matches.get(name_to_match(name), name)
        if len(set(found.values())) < len(found):  # two tensors would be one: that is another model
            return {name: name for name in found}
        return found


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for path, module in model.named_modules(remove_duplicate=False):
        kept = {
            name: value for name, value in module._buffers.items() if name not in module._non_persistent_buffers_set
        }
        for name, tensor in (*module._parameters.items(), *kept.items()):
            if tensor is not None:
                yield f"{path}.{name}".removeprefix("."), tensor
