"""Eight transfers at once keep the server's memory flat, however big they are; how fast they were is printed.

At full size a store needs 16 GiB of disk, and as much again while S3 puts parts together."""

import json
import pathlib
import urllib.request

import flood
import pytest

AT_ONCE = 8
LIMIT = 100 << 20  # bytes of resident memory
ROOT = "/api/2.0/mlflow-artifacts/artifacts/0/flood/artifacts"


def peak_memory(process):
    """The most memory that a process has had resident so far, in bytes."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) << 10


@pytest.mark.parametrize("store", ["local", "s3"])
def test_memory_stays_flat(store, start_on, full_size, timed, record_property, capsys):
    server = start_on(store)
    blocks = 2048 if full_size else 64
    size = AT_ONCE * blocks * flood.BLOCK
    paths = [f"{ROOT}/{number}.bin" for number in range(AT_ONCE)]
    peaks = {}
    try:
        with timed(f"{AT_ONCE} uploads at once to {store}", size):
            flood.together(flood.put, server.uri, paths, blocks)
        peaks["uploads"] = peak_memory(server.process)
        with timed(f"{AT_ONCE} downloads at once from {store}", size):
            flood.together(flood.get, server.uri, paths, blocks)
        peaks["downloads"] = peak_memory(server.process)
    finally:
        for path in paths:
            delete(server, path)
    for what, peak in peaks.items():
        record_property(f"peak memory after {what}", peak)
        with capsys.disabled():
            print(f"\n    {store}: peak memory after {what}: {peak / (1 << 20):.0f} MiB", end="", flush=True)
    assert max(peaks.values()) < LIMIT, peaks


def delete(server, path):
    urllib.request.urlopen(urllib.request.Request(server.uri + path, method="DELETE"), timeout=300).close()


@pytest.mark.parametrize("store", ["local", "s3"])
def test_speed_beside_genuine(store, start_on, full_size, timed, record_property, capsys):
    """Printed, not asserted: machines differ. The two take turns, so that both see the same neighbours."""
    servers = {kind: start_on(store, kind=kind) for kind in ("ours", "genuine")}
    blocks, rounds = (256, 3) if full_size else (64, 1)
    speeds = {}
    for number in range(rounds):
        for kind, server in servers.items():
            path = f"{ROOT}/{number}.bin"
            for transfer in (flood.put, flood.get):
                what = f"{'upload' if transfer is flood.put else 'download'}, {kind}, {store}"
                with timed(what, blocks * flood.BLOCK) as measured:
                    transfer(server.uri, path, number, blocks)
                speeds.setdefault(what, []).append(measured.speed)
            delete(server, path)
    best = {what: round(max(each)) for what, each in speeds.items()}
    record_property("best MiB/s", json.dumps(best))
    with capsys.disabled():
        print(f"\n    best MiB/s of {rounds}: {best}", end="", flush=True)
