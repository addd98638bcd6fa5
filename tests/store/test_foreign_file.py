"""What people put into checkpoint files: wrapper keys, things beside the weights, other formats."""

import collections
import io
import pickle
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from llckit.cli import main
from llckit.errors import InputError
from llckit.store import CheckpointStore, import_checkpoints

from .states import Trap, assert_same_bits, saved_state


def imported(folder, store, content, name="step_1.pt", **settings):
    torch.save(content, folder / name, **settings)
    (step,) = import_checkpoints(folder / name, store)
    return store.load(step)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"net": state, "epoch": 3},
        lambda state: {"module": state, "optimizer": {"state": {}, "param_groups": []}},
        lambda state: {"model": {"state_dict": state}},
        lambda state: {"checkpoint": {"model": state}},
        lambda state: {"model": {"width": 4}, "state_dict": state},
        lambda state: {"weights": state, "rng": {"cpu": torch.zeros(3, dtype=torch.uint8)}},
        lambda state: {"params": state, "optimizer": {"exp_avg": torch.zeros(2)}},
        lambda state: {"model": state, "ema": {name: tensor + 1 for name, tensor in state.items()}},
        lambda state: {"ema": collections.OrderedDict(state), "best": torch.tensor(0.5)},
    ],
)
def test_the_state_dict_is_found_under_its_key(folder, store, wrap):
    assert_same_bits(imported(folder, store, wrap(saved_state(2))), saved_state(2))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"netG": saved_state(1), "netD": saved_state(2)}, r"several state dicts \(netD, netG\)"),
        ({"ema": saved_state(1), "net": saved_state(2)}, r"several state dicts \(ema, net\)"),
        ({"state_dict": saved_state(1), "model": saved_state(2)}, r"several state dicts \(model, state_dict\)"),
        ({"params": {"dense": saved_state(1), "scale": torch.ones(3)}}, "'params' is a dict, not a tensor"),
        ({"model": nn.Linear(1, 1), "epoch": 3}, "'model' is a Linear, not a tensor"),
        ({"w": np.ones(3)}, "'w' is a ndarray, not a tensor"),
    ],
)
def test_what_is_not_one_state_dict_is_refused(folder, store, content, reason):
    torch.save(content, folder / "step_1.pt")
    with pytest.raises(InputError, match=rf"step_1.pt cannot be imported: .*{reason}"):
        import_checkpoints(folder, store)


def test_the_numbers_of_all_levels_are_metadata(folder, store):
    imported(folder, store, {"model": {"state_dict": saved_state(1), "loss": 0.5, "epoch": 2}, "epoch": 3})
    assert store.metadata(1) == {"loss": 0.5, "epoch": 3}


@pytest.mark.parametrize(
    "state",
    [{"version": 1}, None, io.BytesIO(b"recipe"), "text", [1, 2]],
    ids=["dict", "None", "bytes", "text", "list"],
)
def test_extra_state_that_is_no_tensor_is_left_out(folder, store, state):
    content = {**saved_state(1), "_extra_state": state, "layer._extra_state": state}
    assert imported(folder, store, content).keys() == saved_state(1).keys()
    store.save(2, content)
    assert store.load(2).keys() == saved_state(1).keys()


def test_extra_state_that_is_a_tensor_is_kept(folder, store):
    content = {**saved_state(1), "_extra_state": torch.arange(3)}
    assert_same_bits(imported(folder, store, content), content)


def test_a_name_that_only_resembles_extra_state_is_no_extra_state(folder, store):
    torch.save({**saved_state(1), "my_extra_state": 3}, folder / "step_1.pt")
    with pytest.raises(InputError, match="'my_extra_state' is a int"):
        import_checkpoints(folder, store)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (np.float64(0.9) > 0.5, None),
        (np.bool_(False), None),
        (np.float16(0.5), 0.5),
        (np.uint8(3), 3),
        (np.longdouble(0.25), None),
        (np.complex64(1j), None),
        (np.str_("run"), None),
        (np.datetime64("2024-01-05"), None),
        (np.random.default_rng(0).integers(9, size=4), None),
        ({"numpy": np.random.RandomState(0).get_state()}, None),
    ],
)
def test_values_of_numpy_beside_the_weights_are_no_obstacle(folder, store, value, kept):
    state = imported(folder, store, {"model": saved_state(1), "value": value})
    assert_same_bits(state, saved_state(1))
    assert store.metadata(1) == ({} if kept is None else {"value": kept})


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_another_pickle_protocol_is_named_or_read(folder, store, protocol, zipped):
    file = folder / "step_1.pt"
    torch.save(saved_state(1), file, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    if protocol == 3:
        assert import_checkpoints(file, store) == [1]
        assert_same_bits(store.load(1), saved_state(1))
        return
    with pytest.raises(InputError, match=rf"it is of pickle protocol {protocol}, .*; expected protocol 2; save it by"):
        import_checkpoints(file, store)


@pytest.mark.parametrize("protocol", [4, 5])
def test_code_in_another_pickle_protocol_is_never_run(folder, store, tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": saved_state(1), "trap": Trap()}, folder / "step_1.pt", pickle_protocol=protocol)
    (folder / "step_2.pt").write_bytes(pickle.dumps(Trap(), protocol=protocol))
    for name in ("step_1.pt", "step_2.pt"):
        with pytest.raises(InputError, match="cannot be imported"):
            import_checkpoints(folder / name, store)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_other_things_under_the_suffix_of_checkpoints_are_named(folder, store):
    torch.jit.script(nn.Linear(2, 1)).save(folder / "step_1.pt")
    (folder / "step_2.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    (folder / "step_3.safetensors").write_bytes((folder / "step_2.pt").read_bytes())
    with zipfile.ZipFile(folder / "step_4.pt", "w") as archive:
        archive.writestr("notes.txt", "no checkpoint")
    for name, reason in [
        ("step_1.pt", "TorchScript archive, not a state dict; save model.state_dict"),
        ("step_2.pt", "pointer of Git LFS, whose content is not here"),
        ("step_3.safetensors", "pointer of Git LFS"),
        ("step_4.pt", "it is damaged"),
    ]:
        with pytest.raises(InputError, match=rf"{name} cannot be imported: .*{reason}") as caught:
            import_checkpoints(folder / name, store)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["checkpoint_3.pth.tar", "step_3.PT.TAR", "model_3.pt"])
def test_the_suffixes_of_imagenet_scripts(folder, store, name):
    torch.save({"state_dict": saved_state(1), "best_acc1": torch.tensor(0.5), "arch": "resnet"}, folder / name)
    (folder / "data.tar").write_text("no checkpoint")
    assert import_checkpoints(folder, store) == [3]
    assert store.metadata(3) == {"best_acc1": 0.5}


@pytest.mark.parametrize(
    "dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64, torch.int8, torch.uint16, torch.bool]
)
def test_tensors_of_all_kinds_are_imported_bit_for_bit(folder, store, dtype):
    content = {"w": torch.tensor([0.0, 1.0, 1.0]).to(dtype)}
    assert_same_bits(imported(folder, store, content), content)


def test_links_whose_target_is_not_here_are_named_before_anything_is_written(folder, store, capsys):
    torch.save(saved_state(1), folder / "step_1.pt")
    for name in ("step_2.pt", "checkpoint-3", "step_4.pth.tar"):
        link = folder / name
        link.symlink_to("objects/gone")
        for sources in (folder, link):
            with pytest.raises(InputError, match=rf"{name} is a link to objects/gone, which is not here; get"):
                import_checkpoints(sources, store)
        link.unlink()
    (folder / "notes.txt").symlink_to("gone")  # is no checkpoint
    loop = folder / "step_5.pt"
    loop.symlink_to(loop)
    assert main(["import", str(folder), str(store.path)]) == 2
    assert "step_5.pt is a link" in capsys.readouterr().err
    loop.unlink()
    assert import_checkpoints(folder, store) == [1]


def test_folders_named_like_files_are_not_passed_over(folder, store):
    torch.save(saved_state(1), folder / "step_1.pt")
    (folder / "epoch=1-step=5.ckpt").mkdir()
    with pytest.raises(InputError, match=r"epoch=1-step=5.ckpt is a folder; expected a file: .*consolidate"):
        import_checkpoints(folder, store)
    with pytest.raises(InputError, match=r"the folder .*epoch=1-step=5.ckpt holds no .bin"):
        import_checkpoints([folder / "step_1.pt", folder / "epoch=1-step=5.ckpt"], store)
    assert len(store) == 0


def test_a_store_does_not_depend_on_the_defaults_of_the_process(folder, tmp_path):
    torch.save({"model": saved_state(3), "loss": np.mean([0.5])}, folder / "step_1.pt")
    plain = CheckpointStore(tmp_path / "plain")
    import_checkpoints(folder, plain)
    try:
        torch.set_default_device("meta")
        torch.set_default_dtype(torch.float64)
        other = CheckpointStore(tmp_path / "other")
        import_checkpoints(folder, other)
        loaded = other.load(1)
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
    with torch.inference_mode():
        other.save(2, nn.Linear(2, 1))
        assert not other.load(2)["weight"].is_inference() or other.verify() == []
    assert_same_bits(loaded, saved_state(3))
    assert other.manifest(1) == plain.manifest(1)


def flipped(file, record):
    """One bit changed in the middle of a record."""
    with zipfile.ZipFile(file) as archive:
        (info,) = [info for info in archive.infolist() if info.filename.endswith(record)]
        start = info.header_offset + 30
        content = bytearray(file.read_bytes())
        start += int.from_bytes(content[start - 4 : start - 2], "little")
        start += int.from_bytes(content[info.header_offset + 28 : info.header_offset + 30], "little")
    content[start + info.file_size // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("record", ["data/0", "data/1", "/version"])
def test_a_changed_bit_is_noticed_though_torch_does_not(folder, store, record):
    torch.save({"state_dict": {"w": torch.randn(100), "b": torch.randn(30)}}, folder / "step_1.pt")
    flipped(folder / "step_1.pt", record)
    with pytest.raises(InputError, match=r"step_1\.pt cannot be imported: it is damaged"):
        import_checkpoints(folder, store)
    assert len(store) == 0


def test_files_without_checksums_are_read(folder, store):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(saved_state(1) | {"empty": torch.empty(0)}, folder / "step_1.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert import_checkpoints(folder, store) == [1]
