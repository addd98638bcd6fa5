import hashlib

import pytest
import torch

from llckit.store import CheckpointStore
from llckit.store.manifest import DTYPES

# The sub-byte kinds have no arithmetic and no copies of their own, yet their bytes are kept like any others.
EXPECTED = {
    "bfloat16", "float16", "float32", "float64", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2",
    "float8_e5m2fnuz", "complex32", "complex64", "complex128", "bool", "int8", "int16", "int32", "int64",
    "uint8", "uint16", "uint32", "uint64",
}  # fmt: skip


def raw(tensor: torch.Tensor) -> bytes:
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


def every_pattern(dtype: torch.dtype) -> torch.Tensor:
    """All 256 byte values at every place of an element: NaN payloads, both zeros, infinities, subnormals."""
    generator = torch.Generator().manual_seed(0)
    columns = [torch.randperm(256, generator=generator) for _ in range(dtype.itemsize)]
    data = torch.stack(columns, 1).to(torch.uint8)
    if dtype == torch.bool:
        data = data % 2
    return data.reshape(-1).view(dtype).reshape(4, 64)


@pytest.fixture(params=[False, True], ids=["plain", "compressed"])
def store(tmp_path, request):
    return CheckpointStore(tmp_path / "run", compress=request.param)


def test_every_common_dtype_is_covered():
    assert set(DTYPES) >= EXPECTED
    assert not any(name.startswith("q") for name in DTYPES)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_every_bit_of_every_dtype_survives(store, dtype):
    tensor = every_pattern(dtype)
    state = {
        "matrix": tensor,
        "scalar": tensor[0, 0],
        "empty": tensor[:0],
        "strided": tensor[:, ::3],
        "transposed": tensor.T,
    }
    store.save(0, state)
    loaded = store.load(0)
    for name, original in state.items():
        assert loaded[name].dtype == dtype
        assert loaded[name].shape == original.shape
        assert loaded[name].is_contiguous()
    bits = tensor.reshape(-1).view(torch.uint8).reshape(4, 64, dtype.itemsize)
    assert raw(loaded["matrix"]) == raw(tensor)
    assert raw(loaded["scalar"]) == raw(bits[0, 0])
    assert raw(loaded["strided"]) == raw(bits[:, ::3].contiguous())
    assert raw(loaded["transposed"]) == raw(bits.transpose(0, 1).contiguous())
    assert store.manifest(0).tensors[0].sha256 == hashlib.sha256(raw(tensor)).hexdigest()


def test_views_with_pending_signs_are_written_out(store):
    values = torch.tensor([1 + 2j, -3 - 0.5j])
    state = {"conj": values.conj(), "imag": values.conj().imag, "plain": values}
    assert state["conj"].is_conj()
    assert state["imag"].is_neg()
    store.save(0, state)
    loaded = store.load(0)
    assert raw(loaded["conj"]) == raw(torch.tensor([1 - 2j, -3 + 0.5j]))
    assert raw(loaded["imag"]) == raw(torch.tensor([-2.0, 0.5]))
    assert raw(loaded["plain"]) == raw(values)


def test_expanded_and_negative_zero(store):
    state = {"expanded": torch.tensor(-0.0).expand(2, 3), "wide": torch.empty(0, 5, 0)}
    store.save(0, state)
    loaded = store.load(0)
    assert torch.signbit(loaded["expanded"]).all()
    assert loaded["expanded"].shape == (2, 3)
    assert loaded["wide"].shape == (0, 5, 0)


@pytest.mark.parametrize("dtype", [d for d in DTYPES.values() if d.is_floating_point or d.is_complex], ids=str)
def test_nonfinite_marks_exactly_the_dtypes_values(store, dtype):
    """Every 8-bit pattern by itself, and the special values of the wider kinds."""
    if dtype == DTYPES.get("float4_e2m1fn_x2"):
        store.save(0, {"all": every_pattern(dtype)})
        assert store.manifest(0).nonfinite == ()
        return
    if dtype.itemsize == 1:
        values = torch.arange(256, dtype=torch.uint8).view(dtype)
        reference = values.float()
    else:
        parts = torch.tensor([0.0, -1.5, float("nan"), float("inf"), -float("inf"), 2.0])
        reference = parts
        if dtype.is_complex:
            half = {4: torch.float16, 8: torch.float32, 16: torch.float64}[dtype.itemsize]
            values = torch.stack([torch.zeros(6), parts], 1).to(half).view(dtype)
        else:
            values = parts.to(dtype)
    state = {str(index): value for index, value in enumerate(values.unbind())}
    store.save(0, state)
    expected = [
        str(index) for index, value in enumerate(reference.tolist()) if abs(value) == torch.inf or value != value
    ]
    assert list(store.manifest(0).nonfinite) == expected


def test_one_bad_value_anywhere_is_noticed(store):
    for step, bad in enumerate((float("nan"), float("inf"), -float("inf"))):
        tensor = torch.zeros(10_001)
        tensor[step * 5000] = bad
        store.save(step, {"w": tensor, "good": torch.full((3,), 3e38)})
        assert store.manifest(step).nonfinite == ("w",)


def test_non_ascii_and_odd_names(store):
    state = {
        "": torch.zeros(1),
        "a/b": torch.ones(1),
        "λ\0": torch.full((1,), 2.0),
        "..": torch.full((1,), 3.0),
    }
    store.save(0, state)
    assert {name: tensor.item() for name, tensor in store.load(0).items()} == {
        "": 0,
        "a/b": 1,
        "λ\0": 2,
        "..": 3,
    }


@pytest.mark.parametrize("dtype", [torch.int64, torch.float16, torch.bool, torch.complex64])
def test_empty_tensors_of_any_strides_have_no_bits(store, dtype):
    for step, empty in enumerate([torch.empty(0, 3, dtype=dtype), torch.empty(1, dtype=dtype).expand(0, 1)]):
        store.save(step, {"w": empty, "strided": torch.empty(1, dtype=dtype).as_strided((0,), (0,))})
        assert store.load(step)["w"].shape == empty.shape
