"""What the attacks are aimed at: a server with objects of value, and people who may do this much with them and no more."""

import hashlib

import database
import people

SECRET = "churn"  # in the names of all that strangers must not see


class World:
    """One guarded server. ``names`` fill in the paths and bodies of attacks, ``headers`` say who makes them:

    - nobody: without a credential
    - stranger: may create things, has made some (own_…), and has no permission on anything else
    - reader: has READ on the experiment and the model, by name
    - editor: has EDIT on them
    """

    def __init__(self, server, prefix=""):
        self.server, self.prefix = server, prefix
        self.admin = people.Administrator(server, prefix)
        self.secrets = [people.ADMIN_PASSWORD]
        self.headers = {"nobody": {}, "boss": self.admin.user.headers}
        self.users = {}
        self._read = 0  # of the log
        self._make_objects()
        for name in ("stranger", "reader", "editor"):
            self.add(name)
        self._make_strangers_own()
        for name, level in (("reader", "READ"), ("editor", "EDIT")):
            self.admin.grant(name, "experiment", self.names["experiment"], level)
            self.admin.grant(name, "registered_model", self.names["model"], level)
        self._state = self.state()

    def add(self, name):
        """A user with a token, with which attacks are made."""
        self.users[name] = user = self.admin.add(name)
        token = self.admin.token(name)[1]
        self.headers[name] = people.bearer(token)
        self.secrets += [user.password, token]

    def _post(self, path, as_who=None, **fields):
        if not as_who:
            return self.admin("POST", "2.0/mlflow/" + path, **fields)
        answer = self.send("POST", self.prefix + "/api/2.0/mlflow/" + path, fields, self.headers[as_who])
        assert answer.status == 200, answer
        return answer.json

    def _make(self, who, name):
        """An experiment with a run, an artifact, a logged model, and a registered model."""
        experiment = self._post("experiments/create", who, name=name)["experiment_id"]
        run = self._post("runs/create", who, experiment_id=experiment)["run"]["info"]["run_id"]
        self._post("runs/log-metric", who, run_id=run, key="loss", value=0.5, timestamp=1, step=0)
        logged = self._post("logged-models", who, experiment_id=experiment, name=name)["model"]["info"]["model_id"]
        self._post("registered-models/create", who, name=name)
        headers = self.headers[who or "boss"]
        path = f"{self.prefix}/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/a.txt"
        answer = people.send(self.server.uri, "PUT", path, b"an artifact", headers)
        assert answer.status == 200, answer
        source = f"mlflow-artifacts:/{experiment}/{run}/artifacts"
        self._post("model-versions/create", who, name=name, source=source, run_id=run)
        return {"experiment": experiment, "run": run, "logged": logged, "model": name}

    def _make_objects(self):
        self.names = self._make(None, SECRET)
        self.admin(
            *("POST", "2.0/mlflow/registered-models/alias"),
            **{"name": SECRET, "alias": "champion", "version": "1"},
        )

    def _make_strangers_own(self):
        role = self.admin("POST", "3.0/mlflow/roles/create", workspace="default", name="creator")["role"]["id"]
        self.admin(
            *("POST", "3.0/mlflow/roles/permissions/add"),
            **{"role_id": role, "resource_type": "workspace", "resource_pattern": "*", "permission": "USE"},
        )
        self.admin("POST", "3.0/mlflow/roles/assign", username="stranger", role_id=role)
        own = self._make("stranger", "mine")
        self.names.update({"own_" + name: value for name, value in own.items()})
        self.names["creator_role"], self.names["editor_role"] = role, self.admin.role("editor")

    def send(self, method, path, body=None, headers=None):
        return people.send(self.server.uri, method, path, body, headers)

    def state(self):
        """The rows of the database and the files of the artifacts."""
        files = {
            str(path.relative_to(self.server.artifacts)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.server.artifacts.rglob("*"))
            if path.is_file()
        }
        return {**database.rows(self.server.backend_store_uri), "files": files}

    def assert_unchanged(self):
        """Nothing has changed since the last look, and no secret was logged."""
        state, before = self.state(), self._state
        self._state = state
        changed = {
            name: (sorted(set(before[name]) ^ set(state[name]))) for name in state if state[name] != before.get(name)
        }
        assert not changed
        log = self.server.log.read_text(errors="replace")
        new, self._read = log[self._read :], len(log)
        assert not [secret for secret in self.secrets if secret in new], "a secret in the log"

    def look_again(self):
        """Takes what is there now as what has to stay."""
        self._state = self.state()
