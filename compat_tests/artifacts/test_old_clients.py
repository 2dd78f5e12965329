"""Clients of all versions with artifacts in S3, which the server streams: old ones know nothing of parts and URLs."""

import json
import pathlib
import subprocess

import pytest
import tour

TOUR = pathlib.Path(tour.__file__)
DEADLINE = 1800


@pytest.fixture
def server_on_s3(start_on):
    return start_on("s3")


def test_the_tour_on_s3(server_on_s3, client_version, client_python, client_environment, tmp_path):
    done = subprocess.run(
        [client_python, str(TOUR), "s3"],
        env=client_environment(server_on_s3),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    results = {line["step"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert set(results) == {step.name for step in tour.STEPS}, done.stderr[-4000:]
    wrong = [
        results[step.name]
        for step in tour.STEPS
        if results[step.name]["outcome"] != ("passed" if tour.present(step, client_version) else "absent")
    ]
    assert not wrong
