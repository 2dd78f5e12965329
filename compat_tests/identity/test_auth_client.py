"""MLflow's own AuthServiceClient, of 3.6 and of 3.17: the same calls to Greenroom and to genuine MLflow of that version."""

import functools
import json
import pathlib
import subprocess

import auth_differences
import people
import pytest
import venvs

TOUR = pathlib.Path(__file__).with_name("auth_tour.py")
DEADLINE = 1800


def take(server, version, environment, prefix):
    """The lines of a tour by its calls."""
    done = subprocess.run(
        [venvs.python(version), str(TOUR), prefix, people.ADMIN, people.ADMIN_PASSWORD],
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    calls = [line["call"] for line in lines]
    assert len(calls) == len(set(calls)), "two calls have one name"
    return {line.pop("call"): line for line in lines}


@pytest.fixture(scope="session")
def genuine_tour(genuine_guarded, client_environment):
    @functools.cache
    def tour(version):
        server = genuine_guarded(version)
        return take(server, version, client_environment(server), "tour")

    return tour


def test_every_method_answers_as_mlflow_does(guarded, genuine_tour, generation, client_environment):
    ours = take(guarded, generation, client_environment(guarded), f"tour{generation.replace('.', '')}")
    theirs = genuine_tour(generation)
    assert list(ours) == list(theirs)
    wrong = {call: problem for call in ours if (problem := compare(generation, call, ours[call], theirs[call]))}
    assert not wrong, "\n".join(f"{call}: {problem}" for call, problem in wrong.items())


def test_every_known_difference_is_of_a_call(genuine_tour, generation):
    known = {call for version, call in auth_differences.CASES if version == generation}
    assert known <= set(genuine_tour(generation))


def compare(version, call, ours, theirs):
    """What is wrong with our answer; None if nothing is."""
    known = auth_differences.CASES.get((version, call))
    if known:
        return None if known == (gist(theirs), gist(ours)) else f"known otherwise: ours {ours}, genuine's {theirs}"
    if "error" not in ours and "error" not in theirs:
        return None if ours == theirs else f"ours {ours}, genuine's {theirs}"
    # Wordings differ: MLflow's are often plain text, or SQL. Ours must be a sentence from the server.
    if same_error(ours, theirs) and ours["message"].startswith(ours["error"] + ": ") and "SQL" not in ours["message"]:
        return None
    return f"ours {ours}, genuine's {theirs}"


def same_error(ours, theirs):
    # MLflow answers plain text without a code, from which clients of 3.x make one.
    codes = {"UNAUTHENTICATED": "CUSTOMER_UNAUTHORIZED", "BAD_REQUEST": "INVALID_PARAMETER_VALUE"}
    return "error" in ours and "error" in theirs and ours["error"] == codes.get(theirs["error"], theirs["error"])


def gist(answer):
    """An error's code, or the answer itself."""
    return answer.get("error", answer.get("answer"))
