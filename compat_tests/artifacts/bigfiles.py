"""Big files, and what lets a client handle small ones as if they were."""

import dataclasses
import os
import pathlib

import stores

MIB = 1 << 20
# In the short run the client's thresholds are lowered; S3 takes parts of 5 MiB and more.
SMALL_THRESHOLDS = {
    "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": str(16 * MIB),
    "MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE": str(5 * MIB),
    "MLFLOW_MULTIPART_DOWNLOAD_CHUNK_SIZE": str(8 * MIB),
}


@dataclasses.dataclass
class BigFile:
    """A file and its digest, and in how many parts and ranges the client moves it."""

    path: pathlib.Path
    size: int
    sha256: str
    parts: int
    ranges: int


def make_file(path, size):
    """Writes size bytes, no two blocks alike, so that none can take another's place unseen."""
    with open(path, "wb") as file:
        for at in range(0, size, MIB):
            file.write(os.urandom(min(MIB, size - at)))


def big_file(path, full_size):
    """A file above the size from which the client goes in parts, which it does not divide evenly."""
    size, part, range_ = (1024 * MIB + 12345, 10 * MIB, 100 * MIB) if full_size else (24 * MIB + 12345, 5 * MIB, 8 * MIB)
    make_file(path, size)
    return BigFile(path, size, stores.sha256(path), -(-size // part), -(-size // range_))
