"""The genuine client moves a file of more than a gigabyte, without any setting, on every store: in parts where the server offers it.

In the short run the file and the client's thresholds are small."""

import json
import urllib.request

import pytest
import stores
import traffic
from stores import STORES

SERVED = [name for name, store in STORES.items() if not store.root]


@pytest.mark.parametrize("store", SERVED)
def test_a_big_file_comes_back_as_it_went(store, start_on, as_client, big_file, tmp_path, timed):
    server = start_on(store)
    client = as_client(server)
    run = client.create_run(client.create_experiment("big")).info.run_id
    with timed(f"upload to {store}", big_file.size):
        client.log_artifact(run, str(big_file.path), "models")
    (kept,) = stores.visible(server.artifacts).values()
    assert (kept.name, kept.stat().st_size) == ("big.bin", big_file.size)
    assert [(one.path, one.file_size) for one in client.list_artifacts(run, "models")] == [("models/big.bin", big_file.size)]
    with timed(f"download from {store}", big_file.size):
        fetched = client.download_artifacts(run, "models/big.bin", str(tmp_path))
    assert stores.sha256(fetched) == big_file.sha256
    check_way(server, STORES[store], big_file)


def check_way(server, store, big_file):
    """The file went in parts and ranges, past this server if the store gives out URLs itself, or else as one."""
    seen = traffic.requests(server)
    in_parts = int(store.in_parts)
    assert seen.get(("POST", traffic.CREATE), 0) == in_parts, seen
    assert seen.get(("POST", traffic.COMPLETE), 0) == in_parts, seen
    assert seen.get(("GET", traffic.PRESIGNED), 0) == in_parts, seen
    assert seen.get(("PUT", traffic.PLAIN), 0) == 1 - in_parts, seen
    assert seen.get(("GET", traffic.PLAIN), 0) == 1 - in_parts, seen
    own = store.in_parts and (not store.s3 or "--presigned-urls=server" in store.arguments)
    assert seen.get(("PUT", traffic.TRANSFER), 0) == (big_file.parts if own else 0), seen
    assert seen.get(("GET", traffic.TRANSFER), 0) == (big_file.ranges if own else 0), seen


@pytest.mark.parametrize("store", SERVED)
def test_the_server_says_what_it_offers(store, start_on):
    with urllib.request.urlopen(start_on(store).uri + "/api/3.0/mlflow/server-info", timeout=300) as answer:
        info = json.load(answer)
    offered = [info["multipart_uploads_enabled"], info["multipart_downloads_enabled"]]
    assert offered == [STORES[store].in_parts] * 2
