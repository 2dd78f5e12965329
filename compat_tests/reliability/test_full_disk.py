"""The disk is full, for as long as the server's limit on file sizes stands for that: what needs room is refused, the rest goes on."""

import http.client
import json
import os
import resource
import urllib.parse

from calls import Caller

LIMIT = 8 << 20  # bytes a file may have; the database is smaller
PROXY = "/api/2.0/mlflow-artifacts/artifacts/"


def test_full_disk(start_server, new_backend, unique):
    server = start_server("ours", new_backend("sqlite"))
    small, old, large = os.urandom(1000), os.urandom(2000), os.urandom(LIMIT + (4 << 20))
    assert request(server, "PUT", "d/old.bin", old)[0] == 200
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (LIMIT, resource.RLIM_INFINITY))

    for path in ("d/new.bin", "d/old.bin", "e/f/new.bin"):
        status, answer = request(server, "PUT", path, large)
        assert (status, json.loads(answer)["error_code"]) == (507, "TEMPORARILY_UNAVAILABLE"), answer
        assert b"full" in answer, answer
    assert stored(server) == {"d/old.bin"}
    assert request(server, "GET", "d/old.bin") == (200, old)
    assert request(server, "GET", "d/new.bin")[0] == 404
    assert request(server, "PUT", "d/small.bin", small)[0] == 200
    assert request(server, "GET", "d/small.bin") == (200, small)
    call = Caller(server.uri)
    experiment = call.must("POST", "experiments/create", name=unique)["experiment_id"]
    run = call.must("POST", "runs/create", experiment_id=experiment)["run"]["info"]["run_id"]
    call.must("POST", "runs/log-parameter", run_id=run, key="k", value="v")

    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert request(server, "PUT", "d/old.bin", large)[0] == 200
    assert request(server, "GET", "d/old.bin") == (200, large)
    assert stored(server) == {"d/old.bin", "d/small.bin"}


def request(server, method, path, body=None):
    """The status and the body of a plain request for an artifact."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(server.uri).netloc, timeout=300)
    connection.request(method, PROXY + path, body)
    answer = connection.getresponse()
    return answer.status, answer.read()


def stored(server):
    """All files that the server keeps, those of uploads that it gave up included."""
    return {str(path.relative_to(server.artifacts)) for path in server.artifacts.rglob("*") if path.is_file()}
