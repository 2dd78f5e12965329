"""The harness itself: servers start and stop, and what is not run is not taken for a pass in CI."""

import os
import subprocess
import sys
import urllib.request

import pytest


def test_server_answers_health(server):
    with urllib.request.urlopen(server.uri + "/health", timeout=300) as answer:
        assert answer.status == 200


def test_a_server_that_ends_shows_its_log(start_server, server_kind, tmp_path):
    with pytest.raises(RuntimeError, match="(?s)at start:.*--no-such-flag"):
        start_server(server_kind, f"sqlite:///{tmp_path}/mlflow.db", arguments=["--no-such-flag"])


@pytest.mark.parametrize("body", ["pytest.skip('no')", "pytest.xfail('no')"])
@pytest.mark.parametrize(("ci", "status"), [("true", 1), ("", 0)])
def test_ci_fails_on_a_test_that_is_not_run(tmp_path, request, body, ci, status):
    here = request.config.rootpath
    (tmp_path / "conftest.py").write_text("from greenroom_conftest import *\n")
    (tmp_path / "greenroom_conftest.py").write_text((here / "conftest.py").read_text())
    (tmp_path / "test_it.py").write_text(f"import pytest\ndef test_it():\n    {body}\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path],
        env={**os.environ, "CI": ci, "PYTHONPATH": str(here)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert ("NOT RUN" in done.stdout) == bool(status)
