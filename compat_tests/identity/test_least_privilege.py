"""Nobody has more rights than the work takes: a team trains, promotes, reads and serves a model with what was granted, and no more."""

import json
import os
import pathlib
import subprocess

import pytest
import tour

PRIVILEGES = pathlib.Path(__file__).with_name("privileges.py")


@pytest.fixture
def team(admin, unique):
    """The credentials of each person: users with passwords, tokens for jobs."""
    name = unique + "-churn"
    role = admin("POST", "3.0/mlflow/roles/create", workspace="default", name=unique + "-creators")["role"]["id"]
    admin(
        *("POST", "3.0/mlflow/roles/permissions/add"),
        **{"role_id": role, "resource_type": "workspace", "resource_pattern": "*", "permission": "USE"},
    )
    people = {person: admin.add(f"{unique}-{person}") for person in ("scientist", "ci", "intern", "serving", "stranger")}
    admin("POST", "3.0/mlflow/roles/assign", username=people["scientist"].name, role_id=role)
    # The permission is on the name, before there is a model of it.
    admin.grant(people["ci"].name, "registered_model", name, "EDIT")
    admin.grant(people["intern"].name, "registered_model", name, "READ")
    admin.grant(people["serving"].name, "registered_model", name, "READ")
    admin("POST", "2.0/mlflow/registered-models/create", name=name + "-other")
    credentials = {person: user.environment for person, user in people.items()}
    for person in ("ci", "serving"):
        credentials[person] = {"MLFLOW_TRACKING_TOKEN": admin.token(people[person].name)[1]}
    return credentials


def test_a_team_works_with_what_each_may_do(guarded, team, client_python, client_environment, tmp_path, unique):
    done = subprocess.run(
        [client_python, str(PRIVILEGES), unique],
        env=client_environment(guarded, PYTHONPATH=os.path.dirname(tour.__file__)),
        input=json.dumps(team),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
