"""Requests that the server must refuse, whoever makes them, on every mount: nothing may change, no answer may be a 5xx.

A row names what it tries, and says who tries and what they are answered. Paths and bodies name the objects of world.World in
angle brackets; <api> is /api, /ajax-api, or one of these below a prefix."""

import dataclasses
import itertools
import re
import unicodedata

import people
import pytest
from world import SECRET

NO = {400, 401, 403, 404, 405}
UNKNOWN, DENIED, GONE, BAD = {401}, {403}, {403, 404}, {400}
ANYBODY = {"nobody": UNKNOWN, "stranger": GONE, "reader": DENIED, "editor": DENIED}
WRITES = {"nobody": UNKNOWN, "stranger": GONE, "reader": DENIED}
READS = {"nobody": UNKNOWN, "stranger": GONE}
KNOWN = {"stranger": NO, "reader": NO, "editor": NO}


@dataclasses.dataclass
class Attack:
    name: str
    method: str
    path: str
    body: object = None
    who: dict = dataclasses.field(default_factory=lambda: ANYBODY)
    headers: dict = dataclasses.field(default_factory=dict)
    mounts: tuple = ("/api", "/ajax-api", "/mlflow/api")


M, V3, OWN = "<api>/2.0/mlflow/", "<api>/3.0/mlflow/", "<api>/3.0/greenroom/"
FILES = "<api>/2.0/mlflow-artifacts/"
FILE = FILES + "artifacts/<experiment>/<run>/artifacts/a.txt"
AJAX = ("/ajax-api",)
API = ("/api", "/mlflow/api")
NEW = {"name": "new"}
GOOD = "a long enough password"


def signup(name, method, path, body=None, **more):
    return Attack("open sign-up: " + name, method, path, body, {"nobody": {401, 404}, "editor": GONE | {405}}, **more)


def rise(name, method, path, body, who=("stranger", "reader", "editor"), status=frozenset({403})):
    """Somebody tries to become more than they are."""
    return Attack("privileges: " + name, method, path, body, {"nobody": UNKNOWN, **dict.fromkeys(who, set(status))})


def without_grant(name, method, path, body=None, who=READS, **more):
    return Attack("without a grant: " + name, method, path, body, who, **more)


def file_attack(name, method, path, body=None, who=READS, **more):
    return Attack("artifacts: " + name, method, FILES + path, body, who, **more)


def delete(name, method, path, body=None):
    return Attack("EDIT deletes nothing: " + name, method, path, body, {"reader": DENIED, "editor": DENIED})


def alike(name, text):
    return Attack("names that look alike: " + name, "POST", M + "registered-models/create", {"name": text}, {"stranger": BAD})


def other_way(name, path, method="GET", **more):
    return Attack("another path: " + name, method, path, None, {"nobody": NO, "stranger": NO}, **more)


def twice(name, method, path, body=None, who=None, **more):
    """The id of something of one's own, and beside it another's."""
    return Attack("two ids: " + name, method, path, body, who or {"stranger": {400, 403, 404}}, **more)


METRIC = {"key": "loss", "value": 1, "timestamp": 1, "step": 0}
BATCH = {"run_id": "<run>", "params": [{"key": "a", "value": "b"}]}

ATTACKS = [
    *(
        Attack(
            f"cross-origin write from {origin}",
            *("POST", M + "experiments/create", NEW, {"nobody": {401, 403}, "stranger": DENIED, "boss": DENIED}),
            headers={"Origin": origin},
        )
        for origin in ("http://evil.example", "null", "http://localhost.evil.example")
    ),
    *(
        Attack(
            f"DNS rebinding: {method} with Host {host}",
            *(method, M + path, body, {"nobody": {401, 403}, "boss": DENIED}),
            headers={"Host": host},
        )
        for method, path, body in (
            ("GET", "experiments/get?experiment_id=<experiment>", None),
            ("POST", "experiments/create", NEW),
        )
        for host in ("evil.example", "evil.example:5000", "127.0.0.1.evil.example")
    ),
    signup("users/create", "POST", M + "users/create", {"username": "eve", "password": GOOD}),
    signup("users/create-ui", "POST", M + "users/create-ui", {"username": "eve", "password": GOOD}),
    signup("the page", "GET", "<base>/signup"),
    signup("Greenroom's set-up", "POST", OWN + "setup", {"username": "eve", "password": GOOD}),
    signup("tokens", "POST", OWN + "tokens/create", {"username": "boss", "name": "t", "expires": "1d"}),
    *(
        Attack(
            f"default administrator: {name}:{password}",
            *("GET", M + "users/list", None, {"nobody": UNKNOWN | {429}}),
            headers={**people.basic(name, password), "X-Forwarded-For": f"10.1.0.{number}"},
        )
        for number, (name, password) in enumerate(
            [("admin", "password1234"), ("admin", "admin"), ("admin", ""), ("", ""), (people.ADMIN, ""), (people.ADMIN, "admin")]
        )
    ),
    rise("list users", "GET", M + "users/list", None),
    rise("look at a user", "GET", M + "users/get?username=" + people.ADMIN, None),
    rise("make oneself an administrator", "PATCH", M + "users/update-admin", {"username": "<self>", "is_admin": True}),
    rise("take an administrator's password", "PATCH", M + "users/update-password", {"username": people.ADMIN, "password": GOOD}),
    rise(
        "change one's password without the current one",
        *("PATCH", M + "users/update-password", {"username": "<self>", "password": GOOD}),
        status={400, 403},
    ),
    rise(
        "change one's password with a wrong one",
        *("PATCH", M + "users/update-password", {"username": "<self>", "password": GOOD, "current_password": "wrong"}),
        status={400, 403},
    ),
    rise("delete a user", "DELETE", M + "users/delete", {"username": people.ADMIN}),
    rise("delete oneself", "DELETE", M + "users/delete", {"username": "<self>"}),
    rise("disable the administrator", "PATCH", OWN + "users/update-disabled", {"username": people.ADMIN, "disabled": True}),
    *(
        rise(
            f"grant oneself MANAGE on the {kind}",
            *("POST", V3 + "users/permissions/grant"),
            {"username": "<self>", "resource_type": kind, "resource_id": f"<{which}>", "permission": "MANAGE"},
        )
        for kind, which in (("experiment", "experiment"), ("registered_model", "model"))
    ),
    rise(
        "grant oneself MANAGE on everything",
        *("POST", V3 + "users/permissions/grant"),
        {"username": "<self>", "resource_type": "registered_model", "resource_id": "*", "permission": "MANAGE"},
    ),
    rise(
        "grant oneself MANAGE in the old way",
        *("POST", M + "experiments/permissions/create"),
        {"username": "<self>", "experiment_id": "<experiment>", "permission": "MANAGE"},
    ),
    rise(
        "change one's permission in the old way",
        *("PATCH", M + "registered-models/permissions/update"),
        {"username": "<self>", "name": "<model>", "permission": "MANAGE"},
    ),
    rise("create a role", "POST", V3 + "roles/create", {"workspace": "default", "name": "mine"}),
    rise("give oneself a role", "POST", V3 + "roles/assign", {"username": "<self>", "role_id": "<editor_role>"}),
    rise(
        "add to a role",
        *("POST", V3 + "roles/permissions/add"),
        {"role_id": "<creator_role>", "resource_type": "experiment", "resource_pattern": "*", "permission": "MANAGE"},
    ),
    rise("delete a role", "DELETE", V3 + "roles/delete", {"role_id": "<editor_role>"}),
    rise("create a group", "POST", OWN + "groups/create", {"name": "admins"}),
    rise("make a token of the administrator's", "POST", OWN + "tokens/create", {"username": people.ADMIN, "name": "t", "expires": "1d"}),
    rise("revoke the administrator's tokens", "POST", OWN + "users/revoke-all", {"username": people.ADMIN}),
    rise("ask what another may do", "GET", OWN + f"auth/explain?username={people.ADMIN}&model=<model>", None),
    rise("read the audit log", "GET", OWN + "audit/search", None),
    *(
        Attack(f"other applications: {path}", method, "<base>" + path, body, {"nobody": {401, 404}}, mounts=API)
        for method, path, body in (
            ("POST", "/v1/traces", {}),
            ("POST", "/graphql", {"query": "{ test { output } }"}),
            ("GET", "/metrics", None),
            ("GET", "/", None),
            ("GET", "/ajax-api/3.0/mlflow/jobs/1", None),
            ("GET", "/get-artifact?run_id=<run>&path=a.txt", None),
            ("GET", "/model-versions/get-artifact?name=<model>&version=1&path=a.txt", None),
        )
    ),
    without_grant("experiments/get", "GET", M + "experiments/get?experiment_id=<experiment>"),
    without_grant("experiments/get-by-name", "GET", M + "experiments/get-by-name?experiment_name=<model>"),
    without_grant("runs/get", "GET", M + "runs/get?run_id=<run>"),
    without_grant("runs/get by the old name", "GET", M + "runs/get?run_uuid=<run>"),
    without_grant("metrics/get-history", "GET", M + "metrics/get-history?run_id=<run>&metric_key=loss"),
    without_grant(
        "metrics/get-history-bulk",
        *("GET", M + "metrics/get-history-bulk?run_id=<run>&metric_key=loss"),
        mounts=AJAX,
    ),
    without_grant(
        "metrics/get-history-bulk of one's own and another's",
        *("GET", M + "metrics/get-history-bulk?run_id=<own_run>&run_id=<run>&metric_key=loss"),
        mounts=AJAX,
    ),
    without_grant(
        "metrics/get-history-bulk-interval",
        *("GET", M + "metrics/get-history-bulk-interval?run_ids=<run>&metric_key=loss"),
    ),
    without_grant("artifacts/list", "GET", M + "artifacts/list?run_id=<run>"),
    without_grant("logged-models/get", "GET", M + "logged-models/<logged>"),
    without_grant("files of a logged model", "GET", M + "logged-models/<logged>/artifacts/directories"),
    without_grant("registered-models/get", "GET", M + "registered-models/get?name=<model>"),
    without_grant("registered-models/get-latest-versions", "POST", M + "registered-models/get-latest-versions", {"name": "<model>"}),
    without_grant("registered-models/alias", "GET", M + "registered-models/alias?name=<model>&alias=champion"),
    without_grant("model-versions/get", "GET", M + "model-versions/get?name=<model>&version=1"),
    without_grant("model-versions/get-download-uri", "GET", M + "model-versions/get-download-uri?name=<model>&version=1"),
    without_grant("experiments/update", "POST", M + "experiments/update", {"experiment_id": "<experiment>", "new_name": "x"}, WRITES),
    without_grant(
        "experiments/set-experiment-tag",
        *("POST", M + "experiments/set-experiment-tag", {"experiment_id": "<experiment>", "key": "k", "value": "v"}, WRITES),
    ),
    without_grant("runs/create", "POST", M + "runs/create", {"experiment_id": "<experiment>"}, WRITES),
    without_grant("runs/update", "POST", M + "runs/update", {"run_id": "<run>", "status": "FAILED"}, WRITES),
    without_grant("runs/log-metric", "POST", M + "runs/log-metric", {"run_id": "<run>", **METRIC}, WRITES),
    without_grant("runs/log-parameter", "POST", M + "runs/log-parameter", {"run_id": "<run>", "key": "k", "value": "v"}, WRITES),
    without_grant("runs/set-tag", "POST", M + "runs/set-tag", {"run_id": "<run>", "key": "k", "value": "v"}, WRITES),
    without_grant("runs/log-batch", "POST", M + "runs/log-batch", BATCH, WRITES),
    without_grant("runs/log-model", "POST", M + "runs/log-model", {"run_id": "<run>", "model_json": "{}"}, WRITES),
    without_grant(
        "runs/log-inputs",
        *("POST", M + "runs/log-inputs", {"run_id": "<run>", "models": [{"model_id": "<logged>"}]}, WRITES),
    ),
    without_grant(
        "runs/log-inputs of another's model",
        *("POST", M + "runs/log-inputs", {"run_id": "<own_run>", "models": [{"model_id": "<logged>"}]}, {"stranger": GONE}),
    ),
    without_grant(
        "runs/outputs",
        *("POST", M + "runs/outputs", {"run_id": "<run>", "models": [{"model_id": "<logged>", "step": 0}]}, WRITES),
    ),
    without_grant(
        "a metric of another's logged model",
        *("POST", M + "runs/log-metric", {"run_id": "<own_run>", "model_id": "<logged>", **METRIC}, {"stranger": GONE}),
    ),
    without_grant("logged-models/create", "POST", M + "logged-models", {"experiment_id": "<experiment>", "name": "x"}, WRITES),
    without_grant(
        "a logged model from another's run",
        *("POST", M + "logged-models"),
        {"experiment_id": "<own_experiment>", "name": "x", "source_run_id": "<run>"},
        {"stranger": GONE},
    ),
    without_grant(
        "logged-models/finalize",
        *("PATCH", M + "logged-models/<logged>", {"model_id": "<logged>", "status": "LOGGED_MODEL_READY"}, WRITES),
    ),
    without_grant("tags of a logged model", "PATCH", M + "logged-models/<logged>/tags", {"tags": [{"key": "k", "value": "v"}]}, WRITES),
    without_grant("registered-models/update", "PATCH", M + "registered-models/update", {"name": "<model>", "description": "x"}, WRITES),
    without_grant("registered-models/rename", "POST", M + "registered-models/rename", {"name": "<model>", "new_name": "x"}, WRITES),
    without_grant(
        "registered-models/set-tag",
        *("POST", M + "registered-models/set-tag", {"name": "<model>", "key": "k", "value": "v"}, WRITES),
    ),
    without_grant(
        "registered-models/alias to set",
        *("POST", M + "registered-models/alias", {"name": "<model>", "alias": "challenger", "version": "1"}, WRITES),
    ),
    without_grant("model-versions/create", "POST", M + "model-versions/create", {"name": "<model>", "source": "s3://b/x"}, WRITES),
    without_grant(
        "a version from another's run",
        *("POST", M + "model-versions/create"),
        {"name": "<own_model>", "source": "mlflow-artifacts:/<experiment>/<run>/artifacts"},
        {"stranger": GONE | BAD},
    ),
    without_grant(
        "a version from another's run by its id",
        *("POST", M + "model-versions/create", {"name": "<own_model>", "source": "runs:/<run>/model"}, {"stranger": GONE | BAD}),
    ),
    without_grant(
        "a version from another's logged model",
        *("POST", M + "model-versions/create", {"name": "<own_model>", "source": "models:/<logged>"}, {"stranger": GONE | BAD}),
    ),
    without_grant(
        "a version from another's version",
        *("POST", M + "model-versions/create", {"name": "<own_model>", "source": "models:/<model>/1"}, {"stranger": GONE | BAD}),
    ),
    without_grant(
        "model-versions/transition-stage",
        *("POST", M + "model-versions/transition-stage"),
        {"name": "<model>", "version": "1", "stage": "Production", "archive_existing_versions": True},
        WRITES,
    ),
    without_grant(
        "an experiment that keeps its artifacts in another's folder",
        *("POST", M + "experiments/create"),
        {"name": "x", "artifact_location": "mlflow-artifacts:/<experiment>/<run>"},
        {"stranger": GONE | BAD},
    ),
    file_attack("read", "GET", "artifacts/<experiment>/<run>/artifacts/a.txt"),
    file_attack("list", "GET", "artifacts?path=<experiment>/<run>/artifacts"),
    file_attack("list all experiments", "GET", "artifacts?path="),
    file_attack("write", "PUT", "artifacts/<experiment>/<run>/artifacts/b.txt", b"x", WRITES),
    file_attack("overwrite", "PUT", "artifacts/<experiment>/<run>/artifacts/a.txt", b"x", WRITES),
    file_attack("delete", "DELETE", "artifacts/<experiment>/<run>/artifacts/a.txt", None, ANYBODY),
    file_attack("delete everything", "DELETE", "artifacts/", None, dict.fromkeys(ANYBODY, NO)),
    file_attack("delete the root", "DELETE", "artifacts/.", None, dict.fromkeys(ANYBODY, NO)),
    file_attack("write beside the experiments", "PUT", "artifacts/x.txt", b"x", {"nobody": UNKNOWN, **dict.fromkeys(KNOWN, DENIED)}),
    *(
        file_attack(f"{method} disguised as {path}", method, f"artifacts/{path}/<run>/artifacts/a.txt", body, {"nobody": NO, "stranger": NO})
        for method, body in (("GET", None), ("PUT", b"x"))
        for path in (
            *("./<experiment>", "x/../<experiment>", "<own_experiment>/../<experiment>", "%2e/<experiment>"),
            *("<own_experiment>/%2e%2e/<experiment>", "%253<experiment>", "/<experiment>", "<own_experiment>/..%2f<experiment>"),
        )
    ),
    *(
        file_attack(f"list disguised as {path}", "GET", f"artifacts?path={path}/<run>/artifacts", None, {"nobody": NO, "stranger": NO})
        for path in ("./<experiment>", "<own_experiment>/../<experiment>", "<own_experiment>/%2e%2e/<experiment>", "/<experiment>")
    ),
    *(
        file_attack(
            f"{kind}/{step} of another's run",
            *("POST", f"{kind}/{step}/<experiment>/<run>/artifacts", {"path": "b", "num_parts": 1, "upload_id": "u", "parts": [{"part_number": 1, "etag": "e"}]}),
            {"nobody": NO, "stranger": NO, "reader": NO},
        )
        for kind, step in (("mpu", "create"), ("mpu", "complete"), ("mpu", "abort"))
    ),
    without_grant("a presigned upload", "POST", M + "artifacts/presigned-upload-url", {"run_id": "<run>", "path": "b"}, dict.fromkeys(WRITES, NO)),
    without_grant(
        "a presigned download",
        *("POST", M + "artifacts/presigned-download-url", {"run_id": "<run>", "path": "a.txt"}, dict.fromkeys(READS, NO)),
    ),
    delete("an experiment", "POST", M + "experiments/delete", {"experiment_id": "<experiment>"}),
    delete("a run", "POST", M + "runs/delete", {"run_id": "<run>"}),
    delete("a registered model", "DELETE", M + "registered-models/delete", {"name": "<model>"}),
    delete("a version", "DELETE", M + "model-versions/delete", {"name": "<model>", "version": "1"}),
    delete("an alias", "DELETE", M + "registered-models/alias", {"name": "<model>", "alias": "champion"}),
    delete("a logged model", "DELETE", M + "logged-models/<logged>", {"model_id": "<logged>"}),
    delete("an artifact", "DELETE", FILE),
    alike("a percent escape", "ch%75rn"),
    alike("a space behind", SECRET + " "),
    alike("a control character", SECRET + "\u0007"),
    alike("a line end", SECRET + "\n"),
    alike("decomposed letters", unicodedata.normalize("NFD", "chürn")),
    alike("a zero-width space", "chu\u200brn"),
    alike("a right-to-left mark", "nruhc\u202e"),
    *(
        other_way(path, path, mounts=("/api",))
        for path in (
            "/health/../api/2.0/mlflow/experiments/get?experiment_id=<experiment>",
            "/version/%2e%2e/api/2.0/mlflow/experiments/get?experiment_id=<experiment>",
            "//api/2.0/mlflow/experiments/get?experiment_id=<experiment>",
            "/api//2.0/mlflow/experiments/get?experiment_id=<experiment>",
            "/API/2.0/mlflow/experiments/get?experiment_id=<experiment>",
            "/api/2.0/mlflow/experiments/get;x?experiment_id=<experiment>",
            "/api/2.0/mlflow%2fexperiments/get?experiment_id=<experiment>",
            "/api/2.0/mlflow/experiments/get/?experiment_id=<experiment>",
            "/api/2.0/mlflow/./experiments/get?experiment_id=<experiment>",
            "/api/2.0/preview/mlflow/experiments/get?experiment_id=<experiment>",
            "/mlflow/api/2.0/mlflow/experiments/get?experiment_id=<experiment>",
        )
    ),
    other_way(
        "a GET that says it is a DELETE",
        M + "registered-models/get?name=<model>",
        headers={"X-HTTP-Method-Override": "DELETE"},
    ),
    other_way(
        "headers of a proxy",
        M + "experiments/get?experiment_id=<experiment>",
        headers={"X-Forwarded-Prefix": "/health", "X-Original-URL": "/health", "X-Rewrite-URL": "/health", "X-Forwarded-Host": "x"},
    ),
    other_way("names of users in headers", M + "users/list", headers={"X-Forwarded-User": people.ADMIN, "X-Remote-User": people.ADMIN}),
    twice("run_id and run_uuid", "GET", M + "runs/get?run_id=<own_run>&run_uuid=<run>"),
    twice("run_uuid and run_id", "GET", M + "runs/get?run_id=<run>&run_uuid=<own_run>"),
    twice("two run_ids", "GET", M + "runs/get?run_id=<own_run>&run_id=<run>"),
    twice("run_id and run_uuid in a body", "POST", M + "runs/set-tag", {"run_id": "<own_run>", "run_uuid": "<run>", "key": "k", "value": "v"}),
    twice(
        "run_id twice in a body",
        *("POST", M + "runs/set-tag", b'{"run_id": "<own_run>", "run_id": "<run>", "key": "k", "value": "v"}'),
        headers={"Content-Type": "application/json"},
    ),
    twice(
        "runId beside run_id",
        *("POST", M + "runs/set-tag", b'{"run_id": "<own_run>", "runId": "<run>", "key": "k", "value": "v"}'),
        headers={"Content-Type": "application/json"},
    ),
    twice("two names", "GET", M + "registered-models/get?name=<own_model>&name=<model>"),
    twice(
        "a logged model in the path and another in the body",
        *("PATCH", M + "logged-models/<logged>/tags", {"model_id": "<own_logged>", "tags": [{"key": "k", "value": "v"}]}),
    ),
    twice(
        "a logged model in the body and another in the path",
        *("PATCH", M + "logged-models/<own_logged>/tags", {"model_id": "<logged>", "tags": [{"key": "k", "value": "v"}]}),
    ),
    twice("another's parent run in a batch", "POST", M + "runs/log-batch", {"run_id": "<own_run>", "run_uuid": "<run>", "tags": []}),
]


def fill(value, names):
    """Puts the names of a world into a path or a body."""
    if isinstance(value, dict):
        return {key: fill(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, names) for item in value]
    if isinstance(value, bytes):
        return fill(value.decode(), names).encode()
    if not isinstance(value, str):
        return value
    if value in ("<creator_role>", "<editor_role>"):
        return names[value[1:-1]]
    return re.sub(r"<(\w+)>", lambda match: str(names[match[1]]), value)


def test_every_attack_has_a_name():
    names = [attack.name for attack in ATTACKS]
    assert len(names) == len(set(names)), {name for name in names if names.count(name) > 1}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attack_is_refused(worlds, attack):
    aimed_at = {}
    for mount, (who, statuses) in itertools.product(attack.mounts, attack.who.items()):
        prefix, _, api = mount.rpartition("/")
        world = aimed_at[prefix] = worlds(prefix)
        names = {**world.names, "api": prefix + "/" + api, "base": prefix, "self": who}
        answer = world.send(
            attack.method,
            fill(attack.path, names),
            fill(attack.body, names),
            {**world.headers[who], **attack.headers},
        )
        assert answer.status in statuses, (who, mount, answer.status, answer.text)
        assert_says_why(answer)
    for world in aimed_at.values():
        world.assert_unchanged()


def assert_says_why(answer):
    """A refusal is MLflow's JSON, asks for a log-in where one helps, and shows nothing of the server's inside."""
    assert answer.json.get("message"), answer.text
    assert (answer.status == 401) == (answer.code == "CUSTOMER_UNAUTHORIZED"), answer
    if answer.status == 401:
        challenges = answer.headers.get_all("WWW-Authenticate")
        assert [one.split()[0] for one in challenges] == ["Bearer", "Basic"], challenges
    assert not re.search(r"SQL|\.go:|goroutine|/tmp/", answer.text), answer.text
