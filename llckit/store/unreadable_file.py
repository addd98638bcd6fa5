"""What a file is that no reader of checkpoints could read, told from its first bytes."""

import zipfile
from contextlib import suppress
from pathlib import Path

__all__ = ["unreadable_kind"]

_GIT_LFS = b"version https://git-lfs"
_PROTOCOL = 0x80  # the first byte of a pickle; the next is its protocol
_TORCH_PROTOCOL = 2  # of torch.save; the only one that torch.load reads without running anything


def unreadable_kind(file: Path) -> str | None:
    """What a file is, and what to do, if that can be told.

    Args:
        file: A file that could not be read.

    Returns:
        A clause for the error; None if the file may be damaged just as well.
    """
    with suppress(Exception):  # of whatever is in the file; it is refused in any case
        with file.open("rb") as stream:
            start = stream.read(64)
        if start.startswith(_GIT_LFS):
            return "it is a pointer of Git LFS, whose content is not here; get it by git lfs pull"
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                names = {Path(name).name: name for name in archive.namelist()}
                if "constants.pkl" in names:
                    return "it is a TorchScript archive, not a state dict; save model.state_dict()"
                with archive.open(names["data.pkl"]) as stream:
                    start = stream.read(2)
        if start[0] == _PROTOCOL and start[1] > _TORCH_PROTOCOL:
            return (
                f"it is of pickle protocol {start[1]}, which is not read safely; expected protocol {_TORCH_PROTOCOL}; "
                f"save it by torch.save without pickle_protocol"
            )
    return None
