"""What a server was asked for, by its own metrics."""

import re
import urllib.request

COUNT = re.compile(r'^greenroom_http_request_duration_seconds_count\{method="(\w+)",route="([^"]*)",status="(\d+)"\} (\d+)$', re.MULTILINE)
PLAIN = "/api/2.0/mlflow-artifacts/artifacts/*path"
CREATE, COMPLETE, ABORT = (f"/api/2.0/mlflow-artifacts/mpu/{step}/*path" for step in ("create", "complete", "abort"))
PRESIGNED = "/api/2.0/mlflow-artifacts/presigned/*path"
TRANSFER = "/api/2.0/mlflow-artifacts/transfer/*path"  # where the server's own URLs lead


def requests(server):
    """How often each method and route was answered 2xx."""
    with urllib.request.urlopen(server.uri + "/metrics", timeout=300) as answer:
        found = COUNT.findall(answer.read().decode())
    counts = {}
    for method, route, status, number in found:
        if status.startswith("2"):
            counts[method, route] = counts.get((method, route), 0) + int(number)
    return counts
