"""Checkpoint files as other programs write them, made at random, with what an import should find in them."""

from __future__ import annotations

import collections
import io
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file

State = dict[str, torch.Tensor]


class Foreign(NamedTuple):
    """A file, and what should come of its import.

    Attributes:
        file: The file.
        state: The state dict that it holds; None if it must be refused.
        step: Its step.
        readable: Whether the import must succeed; if not, an error in one line is right as well.
    """

    file: Path
    state: State | None
    step: int
    readable: bool


DTYPES = (
    torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool, torch.float8_e4m3fn,
    torch.float8_e5m2, torch.complex64, torch.int8, torch.uint16,
)  # fmt: skip
OLD_DTYPES = DTYPES[:6]  # torch's old format has no other ones
PREFIXES = (
    "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.module.", "_module.",
    "_forward_module.", "_forward_module.module.", "_fsdp_wrapped_module.",
)  # fmt: skip
KEYS = ("state_dict", "model_state_dict", "model", "net", "module", "params", "weights", "ema", "network", "generator")
STEP_NAMES = (
    ("step_{}", 1), ("step={}", 1), ("epoch=3-step={}", 1), ("global_step{}", 1), ("iter_{:07d}", 1),
    ("checkpoint-{}", 1), ("ckpt{}", 1), ("{}", 1), ("step-{}-v1", 1), ("epoch={}-val_loss=0.25", 1),
    ("2024-01-05_step_{}", 1), ("run_{}_seed3", 1), ("step_{}k", 0), ("step_{},000", 0), ("step=-{}", 0),
    ("ckpt_{}e5", 0), ("step_{}_000", 0), ("final", 0), ("ckpt_{}_of_9", 0), ("step_{}.5", 0),
)  # fmt: skip


class Opener:
    """Would make a file if it were unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, ("sprung", "w")


BESIDE: tuple[Callable[[random.Random], Any], ...] = (
    lambda rng: rng.random(),
    lambda rng: np.float64(rng.random()) > 0.5,
    lambda rng: np.float32(rng.random()),
    lambda rng: np.random.RandomState(rng.randrange(99)).get_state(),
    lambda rng: torch.tensor(rng.random()),
    lambda rng: {"state": {}, "param_groups": [{"lr": rng.random()}]},
    lambda rng: Path("data"),
    lambda rng: Opener(),
    lambda rng: "text",
    lambda rng: None,
)


def random_state(rng: random.Random) -> State:
    """A few tensors under names with dots, some tied, empty or without dimensions."""
    state: State = {}
    for index in range(rng.randint(1, 6)):
        shape = [rng.randint(0 if index else 1, 5) for _ in range(rng.randint(0, 3))]
        values = torch.tensor(np.random.RandomState(rng.randrange(2**31)).randint(0, 2, shape), dtype=torch.float32)
        state[f"layer{index}.{rng.choice(['weight', 'bias', 'running_mean'])}"] = values.to(rng.choice(DTYPES))
    if rng.random() < 0.3:
        state["tied.weight"] = next(iter(state.values()))
    return state


def wrapped_names(folder: Path, rng: random.Random) -> Foreign:
    """A state dict of a model in wrappers."""
    state, prefix = random_state(rng), rng.choice(PREFIXES)
    content: State = collections.OrderedDict((prefix + name, tensor) for name, tensor in state.items())
    if prefix == "module." and rng.random() < 0.5:
        content["n_averaged"] = torch.tensor(3)
    return _saved(folder / "step_7.pt", content, state)


def keyed(folder: Path, rng: random.Random) -> Foreign:
    """A state dict under a key, or under two, with other things beside it."""
    state = random_state(rng)
    content: dict[str, Any] = {rng.choice(KEYS): state}
    if rng.random() < 0.3:
        content = {rng.choice(KEYS[:3]): content} if next(iter(content)) in KEYS[:3] else content
    for name in ("loss", "best", "hyper_parameters", "optimizer", "args"):
        if rng.random() < 0.5:
            content[name] = rng.choice(BESIDE)(rng)
    return _saved(folder / "step_7.ckpt", content, state)


def extra_state(folder: Path, rng: random.Random) -> Foreign:
    """A state dict with entries that are no tensors."""
    state = random_state(rng)
    content: dict[str, Any] = dict(state)
    for name in ("_extra_state", "layer0._extra_state"):
        content[name] = rng.choice([None, {"version": 1}, io.BytesIO(b"recipe"), "text", 3, Opener()])
    return _saved(folder / "step_7.pth", content, state)


def formats(folder: Path, rng: random.Random) -> Foreign:
    """Old and new formats, and other suffixes."""
    state, name = random_state(rng), rng.choice(["step_7.pt", "step_7.PTH", "step_7.bin", "step_7.pth.tar", "7.ckpt"])
    if rng.random() < 0.3:
        file = folder / "step_7.safetensors"
        save_file({name: tensor.clone() for name, tensor in state.items()}, file)
        return Foreign(file, state, 7, True)
    protocol, is_new = rng.choice([2, 2, 3, 4, 5]), rng.random() < 0.6
    readable = protocol == 2 and (is_new or all(tensor.dtype in OLD_DTYPES for tensor in state.values()))
    options = {"_use_new_zipfile_serialization": is_new, "pickle_protocol": protocol}
    return _saved(folder / name, state, state, readable=readable, **options)


def step_names(folder: Path, rng: random.Random) -> Foreign:
    """Names with a step, and names from which none can be read."""
    state, (name, has_step), step = random_state(rng), rng.choice(STEP_NAMES), rng.randint(1, 999)
    file = folder / f"{name.format(step)}.pt"
    found = _saved(file, state, state if has_step else None, readable=bool(has_step))
    return found._replace(step=step)


def refused(folder: Path, rng: random.Random) -> Foreign:
    """Files that hold no state dict, or more than one, or something to run."""
    state, other = random_state(rng), random_state(rng)
    contents: list[Any] = [
        [*state.values()], torch.zeros(3), {}, {"netG": state, "netD": other}, {**state, "epoch": 3},
        {7: torch.ones(1)}, {"model": Opener()}, {"layer.weight": Opener()}, {**state, "array": np.ones(3)},
        {"params": {"a": {"b": state}}}, {"_flat_param": torch.zeros(9)},
    ]  # fmt: skip
    file = folder / "step_7.pt"
    kind = rng.randrange(len(contents) + 4)
    if kind < len(contents):
        return _saved(file, contents[kind], None, readable=False)
    if kind == len(contents):
        file.write_text("version https://git-lfs.github.com/spec/v1\n")
    elif kind == len(contents) + 1:
        file.write_bytes(pickle.dumps(Opener(), protocol=rng.randint(0, 5)))
    elif kind == len(contents) + 2:
        file.symlink_to("gone")
    else:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("archive/constants.pkl", b"\x80\x02).")
    return Foreign(file, None, 7, False)


def cut(folder: Path, rng: random.Random) -> Foreign:
    """A sound file of which the end is missing."""
    found = rng.choice([wrapped_names, keyed, formats])(folder, rng)
    content = found.file.read_bytes()
    found.file.write_bytes(content[: rng.randrange(len(content))])
    return found._replace(readable=False)


def changed(folder: Path, rng: random.Random) -> Foreign:
    """A file with checksums in which bytes are other ones."""
    found = rng.choice([wrapped_names, keyed, extra_state])(folder, rng)
    content = bytearray(found.file.read_bytes())
    for _ in range(rng.choice([1, 1, 3, 30])):
        content[rng.randrange(len(content))] ^= rng.randint(1, 255)
    found.file.write_bytes(content)
    return found._replace(readable=False)


def garbled(folder: Path, rng: random.Random) -> Foreign:
    """Random bytes, alone or after the beginning of a sound file."""
    found = rng.choice([formats, keyed])(folder, rng)
    start = found.file.read_bytes()[: rng.choice([0, 2, 64, 500])]
    found.file.write_bytes(start + rng.randbytes(rng.randint(0, 2000)))
    return found._replace(readable=False)  # small files are sound up to where the random bytes begin


FAMILIES: dict[str, Callable[[Path, random.Random], Foreign]] = {
    "names of wrappers": wrapped_names,
    "keys, and things beside": keyed,
    "extra state": extra_state,
    "formats and protocols": formats,
    "steps in names": step_names,
    "no state dict": refused,
    "end missing": cut,
    "bytes changed": changed,
    "garbled": garbled,
}


def _saved(file: Path, content: Any, state: State | None, *, readable: bool = True, **options: Any) -> Foreign:
    torch.save(content, file, **options)
    return Foreign(file, state, 7, readable)
