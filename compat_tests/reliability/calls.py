"""Plain calls to MLflow's REST API, for threads that must ask without a client's retries, caches and locks."""

import http.client
import json
import threading
import urllib.parse

DEADLINE = 300  # seconds that one answer may take


class Caller:
    """Calls one server over one kept connection; not for use by two threads at once."""

    def __init__(self, uri):
        self._connection = http.client.HTTPConnection(urllib.parse.urlsplit(uri).netloc, timeout=DEADLINE)

    def __call__(self, method, path, **fields):
        """The status and the decoded answer of a call. A 5xx, which no race deserves, is an AssertionError."""
        path, body = "/api/2.0/mlflow/" + path, None
        if method == "GET":
            path += "?" + urllib.parse.urlencode(fields)
        else:
            body = json.dumps(fields)
        self._connection.request(method, path, body, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        text = response.read()
        assert response.status < 500, (response.status, method, path, body, text)
        return response.status, json.loads(text)

    def must(self, method, path, **fields):
        """The answer of a call that has to succeed."""
        status, answer = self(method, path, **fields)
        assert status == 200, (status, path, fields, answer)
        return answer

    def versions(self, name):
        """All versions of a registered model, page by page."""
        found, token = [], ""
        while True:
            page = self.must(
                "GET", "model-versions/search", filter=f"name = '{name}'", max_results=1000, page_token=token
            )
            found += page.get("model_versions", [])
            token = page.get("next_page_token", "")
            if not token:
                return found


def together(*functions):
    """Runs the functions in threads that begin at once; their results in order. The first exception is raised."""
    barrier = threading.Barrier(len(functions))
    results, errors = [None] * len(functions), []

    def run(number, function):
        try:
            barrier.wait(DEADLINE)
            results[number] = function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=one, daemon=True) for one in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
