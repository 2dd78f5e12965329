"""A user with a token moves a big file: URLs carry no log-in, and are given only to who may read or write the file."""

import pytest
import requests
import stores
from people import ADMIN_ENVIRONMENT, Administrator


@pytest.mark.parametrize("store", ["local", "s3"])
def test_a_big_file_with_a_token(store, start_on, as_client, smaller_file, thresholds, tmp_path):
    server = start_on(store, arguments=["--auth"], environment=ADMIN_ENVIRONMENT)
    admin = Administrator(server)
    admin.add("ann", "editor")
    admin.add("eve")
    _, token = admin.token("ann")
    client = as_client(server, **thresholds, MLFLOW_TRACKING_TOKEN=token)
    run = client.create_run(client.create_experiment("hers")).info.run_id
    client.log_artifact(run, str(smaller_file.path), "models")
    assert stores.sha256(client.download_artifacts(run, "models/big.bin", str(tmp_path))) == smaller_file.sha256

    _, other = admin.token("eve")
    folder = client.get_run(run).info.artifact_uri.removeprefix("mlflow-artifacts:/")
    base = f"{server.uri}/api/2.0/mlflow-artifacts"
    refused = {"Authorization": "Bearer " + other}
    assert requests.get(f"{base}/presigned/{folder}/models/big.bin", headers=refused, timeout=300).status_code == 403
    create = requests.post(f"{base}/mpu/create/{folder}/models", json={"path": "big.bin", "num_parts": 1}, headers=refused, timeout=300)
    assert create.status_code == 403
    url = requests.get(f"{base}/presigned/{folder}/models/big.bin", headers={"Authorization": "Bearer " + token}, timeout=300).json()
    assert requests.get(url["url"], headers=url["headers"] | {"Range": "bytes=0-9"}, timeout=300).status_code == 206
    assert requests.put(url["url"], data=b"x", headers=url["headers"], timeout=300).status_code in (403, 405)
