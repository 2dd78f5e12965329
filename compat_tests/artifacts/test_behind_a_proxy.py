"""The server offers transfers in parts only where it knows the address that its clients use: behind a proxy that it was not told of, files are streamed."""

import dataclasses
import http.client
import http.server
import json
import threading
import urllib.parse
import urllib.request

import pytest
import stores
import traffic


class ForwardingProxy(http.server.ThreadingHTTPServer):
    """A reverse proxy as many run one: the server sees its own address in Host, and the client's in X-Forwarded-*."""

    daemon_threads = True

    def __init__(self, proto):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.uri = f"http://127.0.0.1:{self.server_port}"
        self.proto, self.behind = proto, ""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _pass_on(self):
        address = urllib.parse.urlsplit(self.server.behind).netloc
        sent = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
        sent |= {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": self.headers["Host"], "X-Forwarded-Proto": self.server.proto}
        connection = http.client.HTTPConnection(address, timeout=3000)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        connection.request(self.command, self.path, body or None, sent)
        answer = connection.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        connection.close()

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _pass_on

    def log_message(self, *_):
        pass


@pytest.fixture
def proxy():
    with ForwardingProxy("http") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


WITH_PUBLIC_URL, TRUSTED, UNTRUSTED = "public url", "trusted", "untrusted"


@pytest.mark.parametrize(("store", "how", "in_parts"), [
    ("local", UNTRUSTED, False),
    ("local", TRUSTED, True),
    ("local", WITH_PUBLIC_URL, True),
    ("s3-server-urls", UNTRUSTED, False),
    ("s3-server-urls", WITH_PUBLIC_URL, True),
    ("s3", UNTRUSTED, True),
])  # fmt: skip
def test_the_offer_is_what_works(store, how, in_parts, start_on, proxy, as_client, smaller_file, thresholds, tmp_path):
    arguments = {UNTRUSTED: [], TRUSTED: ["--trusted-proxies", "127.0.0.1", "--no-auth"], WITH_PUBLIC_URL: ["--public-url", proxy.uri]}[how]
    server = start_on(store, arguments=arguments)
    proxy.behind = server.uri
    with urllib.request.urlopen(proxy.uri + "/api/3.0/mlflow/server-info", timeout=300) as answer:
        info = json.load(answer)
    assert [info["multipart_uploads_enabled"], info["multipart_downloads_enabled"]] == [in_parts] * 2
    client = as_client(dataclasses.replace(server, uri=proxy.uri), **thresholds)
    run = client.create_run(client.create_experiment("behind")).info.run_id
    client.log_artifact(run, str(smaller_file.path))
    assert stores.sha256(client.download_artifacts(run, "big.bin", str(tmp_path))) == smaller_file.sha256
    seen = traffic.requests(server)
    assert seen.get(("POST", traffic.COMPLETE), 0) == int(in_parts), seen
    assert seen.get(("PUT", traffic.PLAIN), 0) == 1 - int(in_parts), seen
