"""A save that fails at any of its system calls, a disk that is full, and every byte of a file changed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

# One process each imports torch once and then forks; whatever they print besides their answer is a lost error.
START = """
import errno, json, os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from syscalls import *
from faulty_saves import *
folder = Path(sys.argv[2])

def answer(reply):
    print(json.dumps(reply))
    sys.exit()

"""
SUPERVISED = START + "if reason := supported():\n    answer({'skip': reason})\n"


def ask(script: str, folder: Path) -> dict:
    command = [sys.executable, "-c", script, str(Path(__file__).parent), str(folder)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert (finished.returncode, finished.stderr) == (0, "")
    reply = json.loads(finished.stdout)
    if "skip" in reply:
        pytest.skip(f"the operating system does not allow it: {reply['skip']}")
    return reply


EVERY_CALL = """
scenario, reply = "a dead writer's", {"errors": [], "kills": []}
looking = {"newfstatat", "stat", "fstat", "lstat", "lseek", "ioctl", "getdents64"}
for at, name in enumerate(save_under(lambda index, call: None, folder, scenario).calls):
    faulted = save_under(fail(at, errno.EIO), folder, scenario)
    # HDF5 looks at its file by `lstat`, and says that this failed but not why.
    said = os.strerror(errno.EIO) if name != "lstat" else "stat"
    reply["errors"].append([name, faulted.error is not None, faulted.broken(said)])
    if name in looking:
        continue  # dying here is as dying at the next call
    killed = save_under(kill(at), folder, scenario)
    whole = killed.state in ("before", "after") and killed.ending == "after"
    reply["kills"].append([name, killed.status, "sound" if whole else [killed.state, killed.ending]])
answer(reply)
"""


@pytest.mark.slow
def test_an_error_or_death_at_every_system_call_leaves_the_store_as_before_or_after(tmp_path):
    found = ask(SUPERVISED + EVERY_CALL, tmp_path / "run")
    refused = {name for name, raised, _ in found["errors"] if raised}
    assert refused >= {"getdents64", "pwrite64", "fsync", "close"}
    assert refused & {"link", "linkat"}
    assert [row for row in found["errors"] if row[2]] == []
    assert {status for _, status, _ in found["kills"]} == {-9}
    assert [row for row in found["kills"] if row[2] != "sound"] == []


EVERY_WRITE = """
reply = {"cut": [], "cut and full": []}
for compress in (False, True):
    calls = save_under(lambda index, call: None, folder, "others", compress).calls
    for at in [index for index, name in enumerate(calls) if name in ("write", "pwrite64")]:
        cut_short = save_under(cut(at), folder, "others", compress)
        reply["cut"].append([cut_short.error, cut_short.broken("")])
        full = save_under(cut(at, then=errno.ENOSPC), folder, "others", compress)
        reply["cut and full"].append([full.error, full.state, full.leftovers, full.status, full.ending])
answer(reply)
"""


@pytest.mark.slow
def test_a_short_write_is_completed_or_is_an_error(tmp_path):
    found = ask(SUPERVISED + EVERY_WRITE, tmp_path / "run")
    assert len(found["cut"]) >= 8
    assert [row for row in found["cut"] if row != [None, []]] == []
    for (kind, message), *rest in found["cut and full"]:
        assert (kind, rest) == ("InputError", ["before", 0, 0, "after"])
        assert "No space left on device" in message


FULL_DISK = """
folder.mkdir()
try:
    roomy = save_squeezed(folder)
except OSError as error:
    answer({"skip": f"no file system can be mounted here: {error}"})
pages, files = roomy.used
reply = {"roomy": roomy, "enough": save_squeezed(folder, pages, files + 1)}  # a name more until it is published
reply["pages"] = [save_squeezed(folder, pages=some) for some in {0, 1, pages // 2, pages - 1}]
reply["files"] = [save_squeezed(folder, files=some) for some in (0, 1)]
answer(reply)
"""


@pytest.mark.slow
def test_a_full_disk_is_named_and_nothing_is_published(tmp_path):
    found = ask(START + FULL_DISK, tmp_path / "disk")
    assert found["enough"] == found["roomy"] == [None, "after", 0, found["roomy"][3], "after"]
    for (kind, message), *rest in found["pages"] + found["files"]:
        assert (kind, rest) == ("InputError", ["before", 0, [0, 0], "after"])
        assert "step_000000000005.h5 could not be written" in message
        assert "No space left on device" in message


EVERY_BYTE = """
reply = []
for compress in (False, True):
    store = CheckpointStore(folder / str(compress), compress=compress)
    state = {"w": torch.arange(40.0).reshape(5, 8), "b": torch.full((2,), -1.0, dtype=torch.bfloat16)}
    store.save(STEP, state, loss=0.5)
    file = store.path / "step_000000000005.h5"
    whole, noticed = file.read_bytes(), 0
    handle = os.open(file, os.O_WRONLY)
    for place, byte in enumerate(whole):
        os.pwrite(handle, bytes([byte ^ 0xFF]), place)
        signal.alarm(20)
        try:
            loaded, metadata = store.load(STEP), store.metadata(STEP)
            same = loaded.keys() == state.keys() and metadata == {"loss": 0.5}
            assert same and all(torch.equal(loaded[name], tensor) for name, tensor in state.items()), place
        except InputError:
            noticed += 1
        os.pwrite(handle, bytes([byte]), place)
    reply.append([len(whole), noticed])
answer({"bytes": reply})
"""


@pytest.mark.slow
def test_every_byte_changed_is_an_error_or_changes_nothing(tmp_path):
    script = START + "from llckit.errors import InputError\nimport torch\n" + EVERY_BYTE
    for size, noticed in ask(script, tmp_path)["bytes"]:
        assert size / 4 < noticed < size  # the rest is free space within the file
