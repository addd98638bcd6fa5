"""The behavioral LLC with padding, masks and weights, against the same problem written without them.

    python -m benchmarks.estimator.behavioral_masks

Every problem is estimated twice, to an error of 1 % at one nβ and γ, and with two seeds. Once it is written as people
do: sequences padded to one length, labels of -100, an attention mask, masked pixels, class weights, outputs of shape
(n,), log-probabilities. Once nothing is there that does not count: sequences in batches of one length, pixels as
samples of their own, samples repeated as often as they weigh, logits. Weights, and so λ, are the same in both; the
difference is given in standard errors of the difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks._estimates import TINY, timed_estimate
from benchmarks._harness import Document, begin
from benchmarks._tables import digits, of, table

N, WORDS, CLASSES = 48, 7, 3
LENGTHS = (4, 6, 8)
CLASS_WEIGHTS = torch.tensor([1.0, 3.0, 2.0])
SEEDS = 0, 1
SPREAD = 0.5  # of a transformer's weights: those of an untrained one are so small that it hardly looks at its inputs


class Problem(NamedTuple):
    """A model at w*, its data and its loss."""

    model: nn.Module
    data: Any
    loss_fn: Any


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def integers(high: int, *shape: int, seed: int = 1) -> Tensor:
    """Integers below `high`."""
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


def gpt2() -> nn.Module:
    """A GPT-2 of one block."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=WORDS, n_positions=8, n_embd=8, n_layer=1, n_head=2, n_inner=16)
    config.bos_token_id = config.eos_token_id = None
    config.initializer_range = SPREAD
    return GPT2LMHeadModel(config)


def bert() -> nn.Module:
    """An encoder like BERT of one block, which labels tokens."""
    from transformers import BertConfig, BertForTokenClassification

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=WORDS,
        max_position_embeddings=8,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        initializer_range=SPREAD,
    )
    config.num_labels = CLASSES
    return BertForTokenClassification(config)


TOKENS = integers(WORDS, N, max(LENGTHS))
TAGS = integers(CLASSES, N, max(LENGTHS), seed=2)
OWN_LENGTH = torch.tensor(LENGTHS).repeat_interleave(N // len(LENGTHS))
ORDER = torch.randperm(N, generator=torch.Generator().manual_seed(3))


def padded(labels: Tensor) -> dict[str, Tensor]:
    """All sequences at one length, in any order."""
    mask = torch.arange(max(LENGTHS)) < OWN_LENGTH[:, None]
    columns = {"input_ids": TOKENS * mask, "attention_mask": mask.long(), "labels": labels.where(mask, -100)}
    return {name: column[ORDER] for name, column in columns.items()}


def unpadded(labels: Tensor) -> DataLoader:
    """The same sequences in batches of one length."""
    rows = [
        {"input_ids": TOKENS[i, :length], "labels": labels[i, :length]} for i, length in enumerate(OWN_LENGTH.tolist())
    ]
    return DataLoader(rows, N // len(LENGTHS), collate_fn=collated)  # pyright: ignore[reportArgumentType]


def collated(samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """One batch; sequences of different lengths are padded, which happens only where reading is tried."""
    columns = {name: [sample[name] for sample in samples] for name in samples[0]}
    return {name: nn.utils.rnn.pad_sequence(column, batch_first=True) for name, column in columns.items()}


def of_model(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """The mean over tokens that the model computes itself."""
    return model(**batch).loss


def of_next_tokens(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Each sequence's sum over predicted tokens, in units of their mean number."""
    logits = model(input_ids=batch["input_ids"]).logits[:, :-1]
    each = F.cross_entropy(logits.transpose(1, 2), batch["labels"][:, 1:], reduction="none")
    return each.sum(1) / (OWN_LENGTH - 1).double().mean()


def of_tags(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Each sequence's sum over tokens, in units of their mean number."""
    logits = model(input_ids=batch["input_ids"]).logits
    each = F.cross_entropy(logits.transpose(1, 2), batch["labels"], reduction="none")
    return each.sum(1) / OWN_LENGTH.double().mean()


def masked_tags(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """The mean over tokens that the attention mask shows."""
    mask = batch["attention_mask"]
    logits = model(input_ids=batch["input_ids"], attention_mask=mask).logits
    each = F.cross_entropy(logits.transpose(1, 2), batch["labels"].clamp(min=0), reduction="none")
    return (each * mask).sum() / mask.sum()


class Pixelwise(nn.Module):
    """The same classes of every pixel, of images or of single pixels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(2, 4, 1), nn.Tanh(), nn.Conv2d(4, CLASSES, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits, of the shape of the input but for the channels."""
        return self.layers(x) if x.dim() == 4 else self.layers(x[:, :, None, None])[:, :, 0, 0]


PIXELS, SEGMENTS, SEEN = normal(N, 2, 4, 4), integers(CLASSES, N, 4, 4), normal(N, 4, 4, seed=4) < 0.5
VALUES = normal(N, CLASSES, 4, 4, seed=5)
ONE_BY_ONE = PIXELS.movedim(1, -1)[SEEN]


def net(outputs: int, *last: nn.Module) -> nn.Module:
    """A small net of tanh units."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, outputs), *last)


def cross_entropy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Mean cross-entropy of what is not labelled -100."""
    return F.cross_entropy(model(batch[0]), batch[1])


def weighted(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Mean cross-entropy with class weights."""
    return F.cross_entropy(model(batch[0]), batch[1], CLASS_WEIGHTS)


def nll(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Cross-entropy of log-probabilities."""
    return F.nll_loss(model(batch[0]), batch[1])


def squared(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Mean squared error."""
    return F.mse_loss(model(batch[0]), batch[1])


def masked_squares(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Mean squared error of the pixels that are seen."""
    return ((model(batch[0]) - batch[1]).square() * batch[2]).sum() / (CLASSES * batch[2].sum())


X, LABELS, NUMBERS = normal(N, 3), integers(CLASSES, N), normal(N, 1, seed=6)
TIMES = CLASS_WEIGHTS.long()[LABELS]

PROBLEMS: dict[str, Callable[[], tuple[Problem, Problem]]] = {
    "GPT-2, padded, its own loss": lambda: (
        Problem(gpt2(), padded(TOKENS), of_model),
        Problem(gpt2(), unpadded(TOKENS), of_next_tokens),
    ),
    "encoder, padded, its own loss": lambda: (
        Problem(bert(), padded(TAGS), of_model),
        Problem(bert(), unpadded(TAGS), of_tags),
    ),
    "encoder, attention mask in the loss": lambda: (
        Problem(bert(), padded(TAGS), masked_tags),
        Problem(bert(), unpadded(TAGS), of_tags),
    ),
    "segmentation, ignored pixels": lambda: (
        Problem(Pixelwise(), (PIXELS, SEGMENTS.where(SEEN, -100)), cross_entropy),
        Problem(Pixelwise(), (ONE_BY_ONE, SEGMENTS[SEEN]), cross_entropy),
    ),
    "squared error, masked pixels": lambda: (
        Problem(Pixelwise(), (PIXELS, VALUES, SEEN[:, None]), masked_squares),
        Problem(Pixelwise(), (ONE_BY_ONE, VALUES.movedim(1, -1)[SEEN]), squared),
    ),
    "class weights": lambda: (
        Problem(net(CLASSES), (X, LABELS), weighted),
        Problem(net(CLASSES), (X.repeat_interleave(TIMES, 0), LABELS.repeat_interleave(TIMES)), cross_entropy),
    ),
    "outputs of shape (n,)": lambda: (
        Problem(net(1, nn.Flatten(0)), (X, NUMBERS[:, 0]), squared),
        Problem(net(1), (X, NUMBERS), squared),
    ),
    "log-probabilities": lambda: (
        Problem(net(CLASSES, nn.LogSoftmax(1)), (X, LABELS), nll),
        Problem(net(CLASSES), (X, LABELS), cross_entropy),
    ),
}


def measure(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Both ways to write one problem."""
    rows = []
    for problem, seed in zip(PROBLEMS[name](), SEEDS, strict=True):
        _, row = timed_estimate(*problem, behavioral=True, seed=seed, **settings)
        rows.append(row)
    masked, bare = rows
    error = math.hypot(masked["mcse"], bare["mcse"])
    return {"masked": masked, "bare": bare, "difference": (masked["llc"] - bare["llc"]) / error}


def summarize(cases: Mapping[str, Any]) -> dict[str, Any]:
    """How many differ by at most two standard errors, and the largest difference and error."""
    differences = [abs(case["difference"]) for case in cases.values()]
    errors = [case[way]["mcse"] / case[way]["llc"] for case in cases.values() for way in ("masked", "bare")]
    return {
        "problems": len(differences),
        "within_two": sum(difference <= 2 for difference in differences),
        "largest_difference": max(differences),
        "largest_error": max(errors),
    }


def report(document: Document) -> str:
    """A row a problem."""
    found, rows = document["summary"], []
    for name, case in document["cases"].items():
        ways = [f"{digits(case[way]['llc'], 4)} ± {digits(case[way]['mcse'], 2)}" for way in ("masked", "bare")]
        rows.append([name, *ways, f"{case['difference']:+.2f}", case["masked"]["outcome"], case["bare"]["outcome"]])
    header = [
        "problem",
        "as people write it",
        "without what does not count",
        "standard errors apart",
        "outcome",
        "outcome",
    ]
    return (
        f"{of(found['within_two'], found['problems'])} differ by at most two standard errors of the difference; the "
        f"largest error of an estimate is {100 * found['largest_error']:.1f} %.\n\n" + table(header, rows)
    )


def main() -> None:
    """Estimate all problems both ways."""
    usual = {"n_beta": 200.0, "localization": 1.0, "rel_tol": 0.01, "max_grad_evals": 60_000}
    sizes = {
        "problems": (list(PROBLEMS), ["class weights", "outputs of shape (n,)"]),
        "estimate": (usual, {**TINY, "n_beta": 200.0, "localization": 1.0}),
    }
    run = begin(__file__, __doc__, report, sizes=sizes)
    run.measure(
        {name: name for name in run.sizes["problems"]}, lambda name: measure(name, run.sizes["estimate"]), summarize
    )


if __name__ == "__main__":
    main()
