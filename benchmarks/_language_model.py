"""A small language model that learns to continue repeats, recorded while it trains: what users of LLCs look at.

Two layers of causal attention without MLPs, which suffice for induction heads (Olsson et al. 2022, arXiv 2209.11895),
as in the language models of Hoogland et al. (2024, arXiv 2402.02364). The text is that of Python's own library. In a
quarter of the sequences the second half repeats the first. The loss on these repeats shows whether the heads have
formed. A sample is a sequence, its loss the mean over its predicted tokens, in nats.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

import llckit as lk
from benchmarks._byte_pairs import byte_pairs, library_text
from llckit.store import CheckpointStore

FULL = {
    "vocabulary": 1024,
    "width": 128,
    "heads": 4,
    "layers": 2,
    "length": 64,  # tokens of a sequence
    "texts": 19_800,
    "repeats": 6600,
    "characters": 5_000_000,
    "steps": 3000,
    "batch": 64,
    "rate": 4e-3,
    "warm_up": 100,  # steps in which the rate rises
    "checkpoints": 50,
}
TINY = FULL | {
    "vocabulary": 128,
    "width": 16,
    "heads": 2,
    "layers": 1,
    "length": 16,
    "texts": 45,
    "repeats": 15,
    "characters": 10_000,
    "steps": 30,
    "warm_up": 10,
    "batch": 16,
    "checkpoints": 3,
}
PROBE = 512  # sequences of which losses are recorded
SEED = 0


class Recorded(NamedTuple):
    """A run that has been recorded.

    Attributes:
        task: Model, sequences and loss.
        store: The checkpoints, each with `loss`, `loss_before_repeats` and `loss_on_repeats`.
        digest: Of the data and the last weights.
    """

    task: lk.Task
    store: lk.CheckpointStore
    digest: str


class Attention(nn.Module):
    """Causal attention with a residual connection.

    Args:
        width: Width of the residual stream.
        heads: Number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, tokens, width) to the same."""
        q, k, v = self.qkv(self.norm(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return x + self.out(attended.transpose(1, 2).flatten(2))


class AttentionOnly(nn.Module):
    """Layers of attention between an embedding and a head of its own.

    Args:
        vocabulary: How many tokens there are.
        width: Width of the residual stream.
        heads: Heads of each layer.
        layers: Number of layers.
        places: Longest input.
    """

    def __init__(self, vocabulary: int, width: int, heads: int, layers: int, places: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.place = nn.Parameter(torch.zeros(places, width))
        self.layers = nn.Sequential(*(Attention(width, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        for weight in (self.embed.weight, self.place, self.head.weight):
            nn.init.normal_(weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits, shape (batch, tokens, vocabulary)."""
        x = self.embed(tokens) + self.place[: tokens.shape[1]]
        return self.head(self.norm(self.layers(x)))


def new_model(sizes: Mapping[str, Any]) -> AttentionOnly:
    """The model before training; an input is a sequence without its last token."""
    shape = {name: sizes[name] for name in ("vocabulary", "width", "heads", "layers")}
    return AttentionOnly(places=sizes["length"] - 1, **shape)


def token_losses(model: nn.Module, tokens: Tensor) -> Tensor:
    """Cross-entropy of every token but the first in nats, shape (batch, length - 1)."""
    logits, targets = model(tokens[:, :-1]), tokens[:, 1:]
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)


def sequence_loss(model: nn.Module, batch: tuple[Tensor]) -> Tensor:
    """Mean loss of a sequence's tokens in nats, shape (batch,)."""
    return token_losses(model, batch[0]).mean(1)


def sequences(sizes: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """All sequences in random order, shape (texts + repeats, length), and which of them repeat, shape (…,)."""
    length, texts, repeats = sizes["length"], sizes["texts"], sizes["repeats"]
    needed = texts + (repeats + 1) // 2
    tokens = torch.tensor(byte_pairs(library_text(sizes["characters"]), sizes["vocabulary"]))
    if len(tokens) < needed * length:
        raise RuntimeError(f"the library's text has {len(tokens)} tokens; expected {needed * length} or more")
    generator = torch.Generator().manual_seed(SEED)
    rows = tokens[: len(tokens) // length * length].view(-1, length)
    rows = rows[torch.randperm(len(rows), generator=generator)[:needed]]
    halves = rows[texts:].reshape(-1, length // 2)[:repeats]
    order = torch.randperm(texts + repeats, generator=generator)
    return torch.cat([rows[:texts], halves.repeat(1, 2)])[order], (order >= texts)


def recorded(data: Path, sizes: Mapping[str, Any]) -> tuple[Path, Recorded]:
    """Train, unless that has been done; a run that was killed is begun again.

    Args:
        data: Where runs are kept, each in a folder of its own; it is made if need be.
        sizes: `FULL` or `TINY`.

    Returns:
        The folder of the run, and what `opened` gives of it.
    """
    key = hashlib.sha256(json.dumps(sizes, sort_keys=True).encode()).hexdigest()[:8]
    folder = data / f"language-model-{key}"
    if not folder.exists():
        data.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=data, prefix="unfinished-") as unfinished:
            _record(Path(unfinished), sizes)
            (Path(unfinished) / "done").rename(folder)
    return folder, opened(folder)


def opened(folder: Path) -> Recorded:
    """A run that `recorded` has kept.

    Args:
        folder: Of the run.

    Returns:
        Its task, with the model as it was at last, and its store.
    """
    sizes = json.loads((folder / "sizes.json").read_text(encoding="utf-8"))
    tokens = torch.load(folder / "tokens.pt", weights_only=True)["tokens"]
    store = lk.CheckpointStore(folder / "run.ckpts", create=False)
    model, state = new_model(sizes), store.load(store.steps[-1])
    model.load_state_dict(state)
    digest = hashlib.sha256()
    for tensor in (tokens, *state.values()):
        digest.update(tensor.numpy().tobytes())
    return Recorded(lk.Task(model, (tokens,), sequence_loss), store, digest.hexdigest()[:16])


def _record(folder: Path, sizes: Mapping[str, Any]) -> None:
    """Make the folder `done` inside another."""
    done = folder / "done"
    done.mkdir()
    (done / "sizes.json").write_text(json.dumps(sizes, indent=1) + "\n", encoding="utf-8")
    tokens, repeating = sequences(sizes)
    torch.save({"tokens": tokens, "repeating": repeating}, done / "tokens.pt")
    train(tokens, repeating, lk.CheckpointStore(done / "run.ckpts"), sizes)


def train(tokens: Tensor, repeating: Tensor, store: CheckpointStore, sizes: Mapping[str, Any]) -> None:
    """Train by AdamW and record checkpoints, at first spaced as the logarithm of the step.

    The rate falls as a cosine to a tenth, so that the heads form in the middle of training.

    Args:
        tokens: All sequences.
        repeating: Which of them repeat.
        store: Where checkpoints go.
        sizes: `FULL` or `TINY`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = new_model(sizes)
    generator = torch.Generator().manual_seed(SEED)
    optimizer = torch.optim.AdamW(model.parameters(), lr=sizes["rate"], betas=(0.9, 0.98), weight_decay=0.01)
    last, order = sizes["steps"], torch.empty(0, dtype=torch.long)

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / sizes["warm_up"]) * (0.55 + 0.45 * math.cos(math.pi * step / last))

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    schedule = set(lk.mixed_schedule(last, sizes["checkpoints"]))
    recorder = lk.Recorder(store, schedule)
    for step in tqdm(range(last + 1), desc="training", unit="step", disable=None):
        if step in schedule:
            recorder(step, model, **probe(model, tokens[:PROBE], tokens[repeating][:PROBE]))
        if len(order) < sizes["batch"]:
            order = torch.randperm(len(tokens), generator=generator)
        batch, order = order[: sizes["batch"]], order[sizes["batch"] :]
        optimizer.zero_grad()
        sequence_loss(model, (tokens[batch],)).mean().backward()
        optimizer.step()
        scheduler.step()


@torch.no_grad()
def probe(model: nn.Module, tokens: Tensor, repeats: Tensor) -> dict[str, float]:
    """Mean losses in nats.

    Args:
        model: As it is.
        tokens: Sequences of all kinds.
        repeats: Sequences whose second half repeats the first.

    Returns:
        `loss` of all kinds; of repeats `loss_before_repeats`, of the first half's tokens, and `loss_on_repeats`, of
        those of the second half that follow a token seen before.
    """
    half, found = repeats.shape[1] // 2, token_losses(model, repeats)
    return {
        "loss": token_losses(model, tokens).mean().item(),
        "loss_before_repeats": found[:, : half - 1].mean().item(),
        "loss_on_repeats": found[:, half:].mean().item(),
    }
