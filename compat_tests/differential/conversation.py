"""A scenario's conversation with two servers: every call is sent to both, and the masked answers are compared."""

import dataclasses
import http.client
import json
import re
import secrets
import urllib.parse
from dataclasses import dataclass, field

from masking import STORAGE_TEXT, Masker, plain_disposition

API = "/api/2.0/mlflow/"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
PLACEHOLDER = re.compile(r"<([a-z_]+[a-z_0-9]*)>")
# Headers that a client reads. ETag is compared by presence: its form is the server's own.
HEADERS = ("content-type", "content-disposition", "content-range")


class ScenarioError(Exception):
    """The scenario can't go on, because a value that later calls need is missing."""


@dataclass
class Reply:
    """One server's answer: status, decoded body (JSON, else text), and headers in lower case."""

    status: int
    body: object
    headers: dict

    @property
    def code(self):
        return self.body.get("error_code", "") if isinstance(self.body, dict) else ""

    @property
    def message(self):
        return self.body.get("message", "") if isinstance(self.body, dict) else str(self.body)


@dataclass
class Ours:
    """What we answer where we differ on purpose. says is a part of the message; body is a part of the masked JSON."""

    status: int
    code: str = ""
    says: str = ""
    body: object = None

    def mismatch(self, reply):
        if (self.status, self.code) != (reply.status, reply.code):
            return f"expected {self.status} {self.code}"
        if self.says not in reply.message:
            return f"expected a message with {self.says!r}"
        if self.body is not None and not _contains(reply.body, self.body):
            return f"expected a body with {self.body}"
        return ""


@dataclass
class Pair:
    """One call and what both servers answered; mismatch is empty when they agree (or differ as the known difference says).

    differs is the known difference that the scenario names, even if it occurs on the other database only."""

    method: str
    path: str
    request: str
    genuine: Reply
    ours: Reply
    mismatch: str
    differs: str = ""

    def __str__(self):
        return f"{self.method} {self.path} {self.request[:600]}\n  {self.mismatch}\n  genuine: {_show(self.genuine)}\n  ours:    {_show(self.ours)}"


@dataclass
class Side:
    """One server as a scenario sees it: its address, the values kept from its answers, and their masks."""

    url: str
    kept: dict = field(default_factory=dict)
    masker: Masker = field(default_factory=Masker)

    def fill(self, value):
        """Replaces <name> by the value that this server gave it; unknown names stay as they are."""
        if isinstance(value, str):
            return PLACEHOLDER.sub(lambda m: self.kept.get(m.group(1), m.group()), value)
        if isinstance(value, dict):
            return {k: self.fill(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.fill(v) for v in value]
        return value

    def send(self, method, target, body, headers):
        """Sends to the server, or to another one if target is a whole URL."""
        address = urllib.parse.urlsplit(self.url)
        if target.startswith("http://"):
            address = urllib.parse.urlsplit(target)._replace(path="")
            target = target.removeprefix(f"http://{address.netloc}")
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=300)
        try:
            connection.request(method, address.path + target, body=body, headers=headers)
            response = connection.getresponse()
            raw = response.read()
        finally:
            connection.close()
        headers = {k.lower(): v for k, v in response.getheaders()}
        text = raw.decode("utf-8", "replace")
        if headers.get("content-type", "").startswith("application/json") and not headers.get("content-disposition"):
            return Reply(response.status, json.loads(text) if text else "", headers)
        return Reply(response.status, text, headers)


class Conversation:
    """Sends calls to a genuine server and to ours, and records a Pair for each.

    <u> in a call is a word that no other conversation uses, the same on both servers: names of experiments and models begin with it.

    kept: what calls to each of the two may refer to from the beginning.
    ours_is_genuine: a second genuine server stands in for ours, which proves the masks; known differences are then checked on the genuine side alone.
    """

    def __init__(self, genuine_url, ours_url, database="sqlite", ours_is_genuine=False, kept=({}, {})):
        self.genuine, self.ours = Side(genuine_url), Side(ours_url)
        self.database, self.ours_is_genuine = database, ours_is_genuine
        unique = "u" + secrets.token_hex(3)
        for side, own in zip((self.genuine, self.ours), kept, strict=True):
            side.kept.update(own, u=unique)
            for name, value in side.kept.items():
                side.masker.name(value, name)
        self.pairs = []

    def get(self, path, query=None, **options):
        return self.call("GET", path, query=query, **options)

    def post(self, path, json=None, **options):
        return self.call("POST", path, json=json, **options)

    def patch(self, path, json=None, **options):
        return self.call("PATCH", path, json=json, **options)

    def delete(self, path, json=None, **options):
        return self.call("DELETE", path, json=json, **options)

    def put(self, path, body=b"", **options):
        return self.call("PUT", path, body=body, **options)

    def call(self, method, path, query=None, json=None, body=None, headers=None, keep=None, differs="", on="", genuine=None, ours=None, unordered=""):
        """Sends one call to both servers and compares.

        path: below /api/2.0/mlflow/, or from the root when it starts with "/", or "<name>" of a URL that was kept; sent as it is, so escape it yourself.
        query: dict (lists repeat the name) or string.  json: sent as application/json.  body: raw bytes or text instead, with no Content-Type of its own.
        keep: {name: "dotted.path", or "header:name"} of values to keep; later calls write them as <name>.
        differs, genuine, ours: the id of a known difference, the status that genuine answers, and what we answer (Ours).
        on: the database the difference occurs on, if not on both.
        unordered: a top-level list whose order is the database's choice.
        """
        replies, missing = [], ""
        for side in (self.genuine, self.ours):
            target, payload, sent_headers = _request(side, path, query, json, body, headers)
            reply = side.send(method, target, payload, sent_headers)
            for name, where in (keep or {}).items():
                value = _dig(reply.headers, where.removeprefix("header:")) if where.startswith("header:") else _dig(reply.body, where)
                if value is None:
                    missing = f"{method} {path}: no {where} to keep in {_show(reply)}"
                    continue
                side.kept[name] = str(value)
                side.masker.name(str(value), name)
            masked = side.masker.body(reply.body) if isinstance(reply.body, (dict, list)) else side.masker.text(reply.body)
            if unordered and isinstance(masked, dict):
                masked[unordered] = sorted(masked.get(unordered, []), key=str)
            replies.append(dataclasses.replace(reply, body=masked))
        mismatch = self._judge(*replies, differs if on in ("", self.database) else "", genuine, ours)
        shown = _compact(json) if json is not None else str(query if query is not None else body or "")
        self.pairs.append(Pair(method, path, shown, *replies, mismatch, differs))
        if missing:
            raise ScenarioError(missing)
        return replies[0]

    def _judge(self, genuine, ours, differs, genuine_status, expected):
        if not differs:
            return compare(genuine, ours)
        if genuine.status not in (genuine_status if isinstance(genuine_status, tuple) else (genuine_status,)):
            return f"known difference {differs}: genuine was to answer {genuine_status}"
        if self.ours_is_genuine:
            return "" if genuine.status == ours.status else "status differs"
        if not compare(genuine, ours):
            return f"known difference {differs} no longer occurs"
        return expected.mismatch(ours)


def compare(genuine, ours):
    """Says how the masked answers differ, or "" if they agree."""
    if genuine.status != ours.status:
        return "status differs"
    if genuine.code != ours.code:
        return "error_code differs"
    for name in ("error_class", "sqlstate"):
        if genuine.code and genuine.body.get(name) != ours.body.get(name):
            return f"{name} differs"
    if genuine.code:
        return _compare_messages(genuine, ours)
    if genuine.body != ours.body:
        return "body differs"
    for name in HEADERS:
        if _media(genuine.headers.get(name)) != _media(ours.headers.get(name)):
            if name == "content-type" and not genuine.body:
                continue
            return f"header {name} differs: {genuine.headers.get(name)!r}, {ours.headers.get(name)!r}"
    if "etag" in genuine.headers and "etag" not in ours.headers:
        return "header etag is missing"
    return ""


def _compare_messages(genuine, ours):
    """We may add help after genuine's message to a user's mistake, nothing else."""
    if genuine.message == STORAGE_TEXT:
        return "" if ours.message else "message is empty"
    if ours.message == genuine.message:
        return ""
    if ours.status < 500 and genuine.message and ours.message.startswith(genuine.message):
        return ""
    return "message differs"


def _request(side, path, query, json_body, body, headers):
    target = side.fill(path)
    if not target.startswith(("/", "http://")):
        target = API + target
    if query:
        query = side.fill(query)
        target += "?" + (query if isinstance(query, str) else urllib.parse.urlencode(query, doseq=True))
    sent = {"Content-Type": "application/json"} if json_body is not None else {}
    sent.update(headers or {})
    if json_body is not None:
        return target, json.dumps(side.fill(json_body)).encode(), sent
    if isinstance(body, str):
        body = side.fill(body).encode()
    return target, body, sent


def _dig(body, path):
    for part in path.split("."):
        if isinstance(body, list) and part.isdigit() and int(part) < len(body):
            body = body[int(part)]
        elif isinstance(body, dict) and part in body:
            body = body[part]
        else:
            return None
    return body


def _contains(whole, part):
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(k in whole and _contains(whole[k], v) for k, v in part.items())
    return whole == part


def _media(value):
    """A header's value without its charset; of a file name that is not ASCII only the encoded form counts."""
    return re.sub(r"; charset=utf-8$|filename=\S+(?=; filename\*=)", "", plain_disposition(value)) if value else value


def _compact(value):
    return json.dumps(value, ensure_ascii=False)


def _show(reply):
    return f"{reply.status} {_compact(reply.body)[:1500]}"
