"""Starts and stops the two servers the tests look at: Greenroom and genuine MLflow."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import time
import urllib.error
import urllib.request

import venvs
from ports import free_port

PROJECT = pathlib.Path(__file__).resolve().parent.parent

# Seconds after which a server hangs. Genuine MLflow imports for half a minute on a busy two-core machine, and then migrates an empty
# database; ours answers running requests for 25 seconds before it stops.
START_DEADLINE = {"ours": 180, "genuine": 600}
STOP_DEADLINE = {"ours": 120, "genuine": 20}


@dataclasses.dataclass
class Server:
    """A running server. ``uri`` is what MLFLOW_TRACKING_URI is set to."""

    kind: str
    uri: str
    backend_store_uri: str
    artifacts: pathlib.Path
    log: pathlib.Path
    process: subprocess.Popen
    stores: tuple  # the flags that name its database and its artifacts, for commands that work on them
    environment: dict  # what it was given besides clean_environment

    def stop(self):
        """Ends the server with SIGTERM and returns its exit status; kills it after STOP_DEADLINE seconds."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_DEADLINE[self.kind])
            except subprocess.TimeoutExpired:
                self.kill()
        # Genuine MLflow leaves workers behind in its process group.
        self.kill()
        return self.process.returncode

    def kill(self):
        """Ends the server with SIGKILL, as a crash or the kernel would."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def log_tail(self, lines=60):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def start(kind, backend_store_uri, folder, arguments=(), environment=None, version=venvs.NEWEST, destination=None):
    """Starts a server of a kind ("ours", or "genuine" of a version) and waits until /health answers.

    The log lies below folder, and artifacts too, unless destination names another place, such as s3://bucket. A server
    that ends or stays silent raises RuntimeError with its log."""
    folder = pathlib.Path(folder)
    artifacts = folder / "artifacts"
    artifacts.mkdir(parents=True, exist_ok=True)
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    stores = ("--backend-store-uri", backend_store_uri, "--artifacts-destination", destination or str(artifacts))
    command = [
        *_program(kind, version),
        *stores,
        *("--host", "127.0.0.1"),
        *("--port", str(port)),
        *arguments,
    ]
    log = folder / f"{kind}-{port}.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**clean_environment(), **_KIND_ENVIRONMENT[kind], **(environment or {})},
            start_new_session=True,
        )
    server = Server(kind, uri, backend_store_uri, artifacts, log, process, stores, dict(environment or {}))
    try:
        _wait_for_health(server)
    except BaseException:
        server.stop()
        raise
    return server


def clean_environment():
    """This process's environment without what would steer a client or a server."""
    dropped = ("MLFLOW_", "GREENROOM_", "AWS_", "PG", "PYTHON", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)}


def maintain(server, command, *arguments):
    """What came of a command of ours that works on a server's database and artifacts, such as gc."""
    return subprocess.run(
        [binary(), command, *server.stores, *arguments],
        env={**clean_environment(), **server.environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


_KIND_ENVIRONMENT = {
    # Places without files, which experiments and versions of the tests name.
    "ours": {
        "GREENROOM_ALLOWED_ARTIFACT_PREFIXES": "s3://b,s3://bucket,s3://c,s3://models,gs://b,wasbs://c@a.blob.core.windows.net,dbfs:/x"
    },
    "genuine": {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
    },
}

_built = None


def binary():
    """The greenroom binary: GREENROOM_BINARY, or built once from the project's source."""
    global _built
    if not _built:
        _built = os.environ.get("GREENROOM_BINARY")
    if not _built:
        _built = str(PROJECT / ".cache" / "greenroom")
        subprocess.run(
            ["go", "build", "-o", _built, "./cmd/greenroom"],
            cwd=PROJECT,
            env={**os.environ, "CGO_ENABLED": "0"},
            check=True,
        )
    return _built


def _program(kind, version):
    if kind == "ours":
        return [binary(), "server"]
    return [venvs.python(version), "-m", "mlflow", "server", "--workers", "1"]


def _wait_for_health(server):
    deadline = time.monotonic() + START_DEADLINE[server.kind]
    while True:
        if server.process.poll() is not None:
            raise RuntimeError(f"{server.kind} ended with {server.process.returncode} at start:\n{server.log_tail()}")
        try:
            with urllib.request.urlopen(server.uri + "/health", timeout=30) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        if time.monotonic() > deadline:
            limit = START_DEADLINE[server.kind]
            raise RuntimeError(f"{server.kind} did not answer {server.uri}/health in {limit} s:\n{server.log_tail()}")
        time.sleep(0.05)
