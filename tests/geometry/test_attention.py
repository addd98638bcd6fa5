import pytest
import torch
from torch import nn
from torch.nn.functional import leaky_relu

from llckit.geometry import Heads, attention_symmetries, find_symmetries, orbit_dim, transform
from tests.geometry.nets import gpt2, named, normal


def kinds(model):
    return [s.kind for s in find_symmetries(model)]


def random_double(model):
    return normal(model, std=0.5).double().eval()


def attend(model, *, kdim=6, vdim=6):
    torch.manual_seed(1)
    query, key, value = (torch.randn(5, 3, size, dtype=torch.float64) for size in (6, kdim, vdim))
    return model(query, key, value, need_weights=False)[0]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("sizes", [{}, {"kdim": 4, "vdim": 5}])
def test_multihead_attention_with_shared_and_separate_projections(bias, sizes):
    model = random_double(nn.MultiheadAttention(6, 2, bias=bias, **sizes))
    assert kinds(model) == (["linear", "free", "linear"] if bias else ["linear"] * 2) * 2 + ["heads"]
    assert orbit_dim(named(model), find_symmetries(model)) == 2 * (9 + 9 + bias * (3 + 3))
    before = attend(model, **sizes)
    for seed in range(3):
        torch.testing.assert_close(attend(transform(model, seed=seed), **sizes), before, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("settings", [{"add_bias_kv": True}, {"add_zero_attn": True}])
def test_keys_that_no_projection_makes_are_left_alone(settings):
    assert kinds(nn.MultiheadAttention(6, 2, **settings)) == []


def test_one_head_has_no_permutation():
    assert kinds(nn.MultiheadAttention(6, 1)) == ["linear", "free", "linear"]


@pytest.mark.parametrize("activation", ["relu", "gelu", torch.tanh, leaky_relu, torch.sin])
def test_decoder_layers_have_two_attentions_and_a_feed_forward_part(activation):
    model = nn.TransformerDecoderLayer(6, 2, 5, dropout=0.0, activation=activation)
    expected = {"relu": ["homogeneous"], "gelu": ["pointwise"], torch.tanh: ["odd"], torch.sin: []}
    feed_forward = expected.get(activation, ["homogeneous"])
    assert sorted(kinds(model)) == sorted(2 * [*["linear", "free", "linear"] * 2, "heads"] + feed_forward)
    model, x = random_double(model), torch.randn(2, 4, 3, 6, dtype=torch.float64)
    torch.testing.assert_close(transform(model)(*x), model(*x), rtol=1e-12, atol=1e-12)


def test_causal_masks_keep_the_symmetries():
    model = random_double(nn.TransformerEncoderLayer(6, 2, 5, dropout=0.0, batch_first=True))
    x, mask = torch.randn(4, 7, 6, dtype=torch.float64), nn.Transformer.generate_square_subsequent_mask(7).double()
    torch.testing.assert_close(transform(model)(x, src_mask=mask), model(x, src_mask=mask), rtol=1e-12, atol=1e-12)


class Grouped(nn.Module):
    """Grouped-query attention with biases, four heads of queries on two of keys, values of another size."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = nn.Linear(5, 12), nn.Linear(5, 6), nn.Linear(5, 4), nn.Linear(8, 5)

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (-1, size)) for part, size in ((self.q(x), 3), (self.k(x), 3), (self.v(x), 2)))
        k, v = (part.repeat_interleave(2, dim=-2) for part in (k, v))
        weights = torch.einsum("bihd,bjhd->bhij", q, k).softmax(-1)
        return self.o(torch.einsum("bhij,bjhd->bihd", weights, v).flatten(-2))


def declared(**changes):
    parts = {"q": (4, 3, 0), "k": (2, 3, 0), "v": (2, 2, 0), "o": (4, 2, 1)}
    heads = [Heads(f"{name}.weight", f"{name}.bias", count, size, dim) for name, (count, size, dim) in parts.items()]
    return attention_symmetries(*heads, **changes)


def test_declared_grouped_queries():
    model, x = random_double(Grouped()), torch.randn(4, 6, 5, dtype=torch.float64)
    assert find_symmetries(model) == []
    for symmetry in declared():
        moved = transform(model, symmetries=[symmetry])
        torch.testing.assert_close(moved(x), model(x), rtol=1e-12, atol=1e-12)
    assert orbit_dim(named(model), declared()) == 2 * (9 + 3 + 4 + 2)
    assert orbit_dim(named(model), declared(rotary=True)) == 2 * (4 + 2)


@pytest.mark.slow
def test_tied_embeddings_do_not_shift():
    model = gpt2(n_layer=2)
    assert "softmax" not in [s.kind for s in find_symmetries(model, cross_entropy=True)]
    assert len(find_symmetries(model)) == 2 * (2 * 3 + 1 + 1)


@pytest.mark.slow
def test_cross_attention_of_gpt2_is_left_alone():
    model = gpt2(n_layer=2, add_cross_attention=True)
    assert not any("crossattention" in str(s) for s in find_symmetries(model))


def test_normalised_queries_and_keys_are_left_alone():
    from transformers import Qwen3Config, Qwen3ForCausalLM

    sizes = {"hidden_size": 8, "intermediate_size": 5, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = Qwen3Config(vocab_size=7, num_hidden_layers=1, head_dim=2, **sizes)
    assert kinds(Qwen3ForCausalLM(config)) == ["homogeneous"]
