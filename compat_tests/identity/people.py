"""Makes users, roles and tokens on a server that asks for log-ins, as its administrator does."""

import base64
import dataclasses
import http.client
import json
import secrets
import urllib.parse

ADMIN, ADMIN_PASSWORD = "the-boss", "the administrator's password"
ADMIN_ENVIRONMENT = {"MLFLOW_AUTH_ADMIN_USERNAME": ADMIN, "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN_PASSWORD}
DEADLINE = 300  # seconds that one answer may take


@dataclasses.dataclass
class Answer:
    """What a server answered; ``json`` is {} if the body is something else."""

    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def json(self):
        try:
            return json.loads(self.text)
        except ValueError:
            return {}

    @property
    def code(self):
        return self.json.get("error_code")


def send(uri, method, path, body=None, headers=None):
    """Sends one request, exactly as it is written; a body that is not bytes goes as JSON."""
    headers = dict(headers or {})
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        headers.setdefault("Content-Type", "application/json")
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(uri).netloc, timeout=DEADLINE)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read().decode(errors="replace"))
    finally:
        connection.close()


def basic(name, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def bearer(token):
    return {"Authorization": "Bearer " + token}


@dataclasses.dataclass
class User:
    """A user with a password, and what a client's environment says to be that user."""

    name: str
    password: str

    @property
    def headers(self):
        return basic(self.name, self.password)

    @property
    def environment(self):
        return {"MLFLOW_TRACKING_USERNAME": self.name, "MLFLOW_TRACKING_PASSWORD": self.password}


class Administrator:
    """The administrator of a server; each call that the server refuses is an AssertionError."""

    def __init__(self, server, prefix=""):
        self.uri, self._base = server.uri, prefix + "/api/"
        self.user = User(ADMIN, ADMIN_PASSWORD)

    def __call__(self, method, path, **fields):
        """The answer to one call; path is relative to /api/."""
        path = self._base + path
        if method == "GET":
            answer = send(self.uri, method, path + "?" + urllib.parse.urlencode(fields), headers=self.user.headers)
        else:
            answer = send(self.uri, method, path, fields, self.user.headers)
        assert answer.status == 200, (method, path, fields, answer)
        return answer.json

    def add(self, name, *roles):
        """A new user with these roles."""
        made = User(name, secrets.token_urlsafe(12))
        self("POST", "2.0/mlflow/users/create", username=made.name, password=made.password)
        for role in roles:
            self("POST", "3.0/mlflow/roles/assign", username=name, role_id=self.role(role))
        return made

    def role(self, name):
        """The id of a role."""
        return next(role["id"] for role in self("GET", "3.0/mlflow/roles/list")["roles"] if role["name"] == name)

    def grant(self, name, kind, which, level):
        """Gives a user a level on an experiment's id or a model's name."""
        self(
            *("POST", "3.0/mlflow/users/permissions/grant"),
            **{"username": name, "resource_type": kind, "resource_id": which, "permission": level},
        )

    def revoke(self, name, kind, which):
        """Takes back what grant gave."""
        self(
            *("POST", "3.0/mlflow/users/permissions/revoke"),
            **{"username": name, "resource_type": kind, "resource_id": which},
        )

    def token(self, name, title="tests", expires="1h", **more):
        """A new API token of a user: its id and its text."""
        made = self("POST", "3.0/greenroom/tokens/create", username=name, name=title, expires=expires, **more)
        return made["info"]["id"], made["token"]

    def revoke_token(self, id):
        self("POST", "3.0/greenroom/tokens/revoke", id=id)
