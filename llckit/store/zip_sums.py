"""The checksums in a file of torch.save, which torch.load does not look at."""

import zipfile
from pathlib import Path

__all__ = ["damaged_record"]

_PIECE = 1 << 20


def damaged_record(file: Path) -> str | None:
    """Compare the records of a zip archive with their checksums.

    Args:
        file: A file that torch.load could read.

    Returns:
        The name of a damaged record, or of the file if it is no sound archive; None if all are as they were saved, or
        the file has no checksums: those of an old format, and where `torch.serialization.set_crc32_options(False)` was
        in force.
    """
    try:
        if not zipfile.is_zipfile(file):
            return None
        with zipfile.ZipFile(file) as archive:
            records = [record for record in archive.infolist() if record.file_size]
            damaged = [record.filename for record in records if not _is_whole(archive, record)]
    except Exception:  # BadZipFile, and whatever else an untrusted archive makes of zipfile
        return file.name
    return damaged[0] if 0 < len(damaged) < len(records) else None


def _is_whole(archive: zipfile.ZipFile, record: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(record) as stream:
            while stream.read(_PIECE):
                pass
    except Exception:  # of zipfile and of the decompressors; the file is not trusted
        return False
    return True
