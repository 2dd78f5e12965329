"""The artifact stores that tests run on: how a server is started with each, and what it keeps there, seen as files."""

import dataclasses
import hashlib
import pathlib

# What a server and the S3 server keep for themselves, beside the artifacts: begun uploads.
INNER = (".greenroom", ".sgwtmp")


@dataclasses.dataclass(frozen=True)
class Store:
    """A way to keep artifacts. in_parts tells whether the server offers big files in parts."""

    s3: bool = False
    root: bool = False  # clients reach it themselves
    arguments: tuple = ()
    in_parts: bool = True
    ours_only: bool = False


STORES = {
    "local": Store(),
    "local-plain": Store(arguments=("--presigned-urls=off",), in_parts=False, ours_only=True),
    "s3": Store(s3=True),
    "s3-server-urls": Store(s3=True, arguments=("--presigned-urls=server",), ours_only=True),
    "s3-plain": Store(s3=True, arguments=("--presigned-urls=off",), in_parts=False, ours_only=True),
    "s3-root": Store(s3=True, root=True),
}


def start(store, start_server, kind, backend, s3, arguments=(), environment=None, s3_uri="", **how):
    """Starts a server on a store, by its name; its ``artifacts`` is the folder with what it keeps, in S3 too.

    s3 is a function that gives the S3 server; s3_uri is where the server is to look for it, if not at its address."""
    store = STORES[store]
    if not store.s3:
        return start_server(kind, backend, arguments=[*store.arguments, *arguments], environment=environment, **how)
    gateway = s3()
    bucket = gateway.create_bucket()
    account = gateway.environment | ({"MLFLOW_S3_ENDPOINT_URL": s3_uri} if s3_uri else {})
    root = ("--default-artifact-root", f"s3://{bucket}/team") if store.root else ()
    server = start_server(
        *(kind, backend),
        arguments=[*store.arguments, *root, *arguments],
        environment={**account, **(environment or {})},
        destination=None if store.root else f"s3://{bucket}/team",
        **how,
    )
    server.artifacts = gateway.folder / bucket
    server.stores += root
    return server


def visible(folder):
    """The files that a store shows, by their paths."""
    files = (path for path in pathlib.Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path for path in files if not _is_inner(path, folder)}


def left_over(folder):
    """The files of uploads that are not complete."""
    files = (path for path in pathlib.Path(folder).rglob("*") if path.is_file())
    return sorted(str(path.relative_to(folder)) for path in files if _is_inner(path, folder))


def _is_inner(path, folder):
    return any(part.startswith(INNER) for part in path.relative_to(folder).parts)


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
