"""A real S3 server, versitygw, on a folder of its own: what it stores can be looked at as files."""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from ports import free_port

PROJECT = pathlib.Path(__file__).resolve().parent.parent
ACCESS_KEY, SECRET_KEY = "test", "testsecret"
REGION = "us-east-1"
START_DEADLINE = 180


class Gateway:
    """One S3 server on a loopback port; ``create_bucket`` gives each server under test its own. ``stop`` removes it all.

    It keeps to one port, so that it can be ended and begun again under the addresses that others know."""

    def __init__(self):
        self._home = pathlib.Path(tempfile.mkdtemp(prefix="greenroom-s3-"))
        self.folder = self._home / "buckets"
        self.folder.mkdir()
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._log = self._home / "log"
        self._buckets = 0
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    @property
    def environment(self):
        """What a server or client needs to reach the gateway, in the variables that MLflow's users set."""
        return environment(self.uri)

    def create_bucket(self):
        """Makes an empty bucket and returns its name. Its files lie in folder/<name>."""
        self._buckets += 1
        name = f"bucket{self._buckets}"
        (self.folder / name).mkdir()
        return name

    def objects(self, bucket):
        """The keys and sizes of all objects of a bucket, without the gateway's own folder."""
        root = self.folder / bucket
        found = {str(path.relative_to(root)): path.stat().st_size for path in root.rglob("*") if path.is_file()}
        return {key: size for key, size in found.items() if not key.startswith(".sgwtmp")}

    def start(self):
        with open(self._log, "ab") as output:
            self._process = subprocess.Popen(
                [binary(), "--quiet", "--port", f"127.0.0.1:{self.port}", "--health", "/health", "posix", self.folder],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ["PATH"], "ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY},
                start_new_session=True,
            )
        deadline = time.monotonic() + START_DEADLINE
        while not self._healthy():
            ended = self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                raise RuntimeError(f"the S3 server does not answer at {self.uri}:\n{self._log.read_text()}")
            time.sleep(0.05)

    def kill(self):
        """Ends the server; its buckets stay."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()

    def stop(self):
        self.kill()
        shutil.rmtree(self._home, ignore_errors=True)

    def _healthy(self):
        try:
            with urllib.request.urlopen(self.uri + "/health", timeout=30) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False


def environment(uri):
    """The variables of MLflow's users that name the S3 server at uri, and its account."""
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "MLFLOW_S3_ENDPOINT_URL": uri,
    }


def binary():
    """The gateway's program: GREENROOM_TEST_S3_SERVER, or the one that make builds."""
    named = os.environ.get("GREENROOM_TEST_S3_SERVER")
    if named:
        return named
    built = sorted((PROJECT / ".tools").glob("versitygw-v*"))
    if not built:
        raise RuntimeError(
            "the S3 server that the tests need is not built: run `make s3-server`, or let GREENROOM_TEST_S3_SERVER name a versitygw"
        )
    return str(built[-1])
