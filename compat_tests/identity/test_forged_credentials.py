"""Tokens that are not what they say, passwords that are guessed, and what must not become known by trying."""

import base64
import hashlib
import hmac
import itertools
import json
import subprocess
import time

import database as database_of
import issuer as issuers
import jwt
import people
import pytest
import servers
from cryptography.hazmat.primitives import serialization
from world import SECRET

SOON = 90  # seconds: far above what a loaded machine takes
CURRENT = "/api/2.0/mlflow/users/current"
INVALID = "The token is not valid. Set MLFLOW_TRACKING_TOKEN to a valid one."

_addresses = itertools.count(1)


def from_elsewhere():
    """Headers of a client whose address no other test guesses from: guesses of one address are limited."""
    number = next(_addresses)
    return {"X-Forwarded-For": f"10.2.{number // 250}.{number % 250 + 1}"}


def encoded(part):
    part = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def unsigned(issuer):
    return issuers.unsigned({"alg": "none", "typ": "JWT"}, issuer.claims("eve"))


def unsigned_in_capitals(issuer):
    return issuers.unsigned({"alg": "nOnE", "typ": "JWT"}, issuer.claims("eve"))


def without_its_signature(issuer):
    return issuer.token("eve").rpartition(".")[0] + "."


def signed_with_the_public_key_as_secret(issuer):
    key = issuer.keys[0]
    pem = key.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    signed = f"{encoded({'alg': 'HS256', 'typ': 'JWT', 'kid': key.kid})}.{encoded(issuer.claims('eve'))}"
    return f"{signed}.{encoded(hmac.new(pem, signed.encode(), hashlib.sha256).digest())}"


def of_another_algorithm_than_its_key(issuer):
    key = issuer.keys[0]
    return jwt.encode(issuer.claims("eve"), key.private, "RS512", {"kid": key.kid})


def signed_by_somebody_else(issuer):
    key = issuers.Key(issuer.keys[0].kid, issuer.keys[0].alg)
    return issuer.token("eve", key=key)


def with_an_unknown_key(issuer):
    return issuer.token("eve", key=issuers.Key("unheard-of", "ES256"))


def with_a_path_for_a_key(issuer):
    return issuer.token("eve", key=issuers.Key("../../../../dev/null", "ES256"))


def with_sql_for_a_key(issuer):
    return issuer.token("eve", key=issuers.Key("' OR '1'='1", "ES256"))


def that_brings_its_key(issuer):
    key = issuers.Key("mine", "ES256")
    return issuer.token("eve", key=key, headers={"jwk": key.public})


def that_says_where_its_key_is(issuer):
    key = issuers.Key("mine", "ES256")
    return issuer.token("eve", key=key, headers={"jku": issuer.uri + "/mine", "x5u": issuer.uri + "/mine"})


def with_a_critical_extension(issuer):
    return issuer.token("eve", headers={"crit": ["exp2"], "exp2": 1})


def with_an_unencoded_payload(issuer):
    return issuer.token("eve", headers={"b64": False, "crit": ["b64"]})


def for_another_audience(issuer):
    return issuer.token("eve", aud="billing")


def for_no_audience(issuer):
    return issuer.token("eve", aud=None)


def of_another_issuer(issuer):
    return issuer.token("eve", iss="https://accounts.example.com")


def of_an_issuer_with_a_slash_more(issuer):
    return issuer.token("eve", iss=issuer.uri + "/")


def of_no_issuer(issuer):
    return issuer.token("eve", iss=None)


def that_never_expires(issuer):
    return issuer.token("eve", exp=None)


def that_is_not_valid_yet(issuer):
    return issuer.token("eve", nbf=int(time.time()) + 600)


def from_the_future(issuer):
    return issuer.token("eve", iat=int(time.time()) + 600)


def without_a_subject(issuer):
    return issuer.token("eve", sub=None)


def without_a_user(issuer):
    return issuer.token("eve", preferred_username=None)


def of_a_user_with_a_control_character(issuer):
    return issuer.token("eve\u0000")


def that_is_encrypted(issuer):
    return ".".join([encoded({"alg": "RSA-OAEP", "enc": "A256GCM"}), *["AAAA"] * 4])


def with_bytes_behind(issuer):
    return issuer.token("eve") + "AAAA"


def with_a_line_end(issuer):
    return issuer.token("eve").replace(".", ".\t", 1)


def of_another_kind(issuer):
    return issuer.token("eve", headers={"typ": "logout+jwt"})


def of_60_kilobytes(issuer):  # more is no header
    return issuer.token("eve", padding="x" * (44 << 10))


FORGED = [
    *(unsigned, unsigned_in_capitals, without_its_signature, signed_with_the_public_key_as_secret),
    *(of_another_algorithm_than_its_key, signed_by_somebody_else, with_an_unknown_key, with_a_path_for_a_key),
    *(with_sql_for_a_key, that_brings_its_key, that_says_where_its_key_is, with_a_critical_extension),
    *(with_an_unencoded_payload, for_another_audience, for_no_audience, of_another_issuer),
    *(of_an_issuer_with_a_slash_more, of_no_issuer, that_never_expires, that_is_not_valid_yet, from_the_future),
    *(without_a_subject, without_a_user, of_a_user_with_a_control_character, that_is_encrypted, with_bytes_behind),
    *(with_a_line_end, of_another_kind, of_60_kilobytes),
]


@pytest.mark.parametrize("forge", FORGED, ids=lambda forge: forge.__name__)
def test_a_forged_jwt_is_refused_like_any_other(worlds, issuer, forge):
    world, token = worlds(), forge(issuer)
    headers = [people.bearer(token)]
    if len(token) < 16 << 10:
        headers.append(people.basic("eve", token))
    for header in headers:
        answer = world.send("GET", CURRENT, headers={**header, **from_elsewhere()})
        assert (answer.status, answer.json["message"]) == (401, INVALID)
        assert 'error="invalid_token"' in answer.headers.get_all("WWW-Authenticate")[0]
    world.assert_unchanged()


def test_a_genuine_jwt_is_taken(guarded, issuer, unique):
    """The forgeries fail for what is wrong with them."""
    for key in issuer.keys:
        answer = people.send(guarded.uri, "GET", CURRENT, headers=people.bearer(issuer.token(unique, key=key)))
        assert (answer.status, answer.json["user"]["username"]) == (200, unique)


def test_a_megabyte_of_token_is_refused(worlds, issuer):
    world = worlds()
    token = issuer.token("eve", padding="x" * (1 << 20))
    answer = world.send("GET", CURRENT, headers={**people.bearer(token), **from_elsewhere()})
    assert answer.status in (401, 431)
    world.assert_unchanged()


def test_an_expired_jwt_is_refused(guarded, issuer, unique):
    now = int(time.time())
    token = issuer.token(unique, iat=now - 600, exp=now - 60)
    answer = people.send(guarded.uri, "GET", CURRENT, headers=people.bearer(token))
    assert (answer.status, answer.code) == (401, "CUSTOMER_UNAUTHORIZED")
    assert answer.json["message"].startswith("The token expired at 20")


def test_a_revoked_jwt_is_refused(guarded, admin, issuer, unique):
    headers = people.bearer(issuer.token(unique, jti=unique))
    assert people.send(guarded.uri, "GET", CURRENT, headers=headers).status == 200
    expires = int((time.time() + 3600) * 1000)
    admin("POST", "3.0/greenroom/tokens/revoke-jwt", issuer=issuer.uri, jti=unique, expires_at=expires)
    answer = people.send(guarded.uri, "GET", CURRENT, headers=headers)
    assert (answer.status, answer.json["message"]) == (
        401,
        "The token was revoked. Get a new one and set MLFLOW_TRACKING_TOKEN to it.",
    )


def greenroom(*arguments):
    """What the command line prints."""
    return subprocess.run(
        [servers.binary(), *map(str, arguments)], env=servers.clean_environment(), capture_output=True, text=True, check=True
    ).stdout.strip()


def test_own_jwts_end_with_their_user_and_their_key(start_guarded, new_backend, database, tmp_path, unique):
    keys = tmp_path / "keys.json"
    greenroom("key", "create", keys)
    server = start_guarded(new_backend(database), "--key-file", str(keys))
    admin = people.Administrator(server)
    admin.add("ann")
    admin.add("bob")
    tokens = {name: greenroom("token", "mint", "--key-file", keys, "--user", name) for name in ("ann", "bob", "nobody")}

    def ask(name):
        return people.send(server.uri, "GET", CURRENT, headers={**people.bearer(tokens[name]), **from_elsewhere()}).status

    assert [ask("ann"), ask("bob"), ask("nobody")] == [200, 200, 401]
    admin("DELETE", "2.0/mlflow/users/delete", username="bob")
    assert [ask("ann"), ask("bob")] == [200, 401]
    time.sleep(1)  # JWTs tell their time in seconds
    admin.add("bob")
    assert ask("bob") == 401, "a token of the bob who is gone"
    greenroom("key", "rotate", keys)
    assert ask("ann") == 200
    tokens["ann again"] = greenroom("token", "mint", "--key-file", keys, "--user", "ann")
    deadline = time.monotonic() + SOON
    while ask("ann again") != 200:
        assert time.monotonic() < deadline, "the new key is not known"
        time.sleep(0.1)
    greenroom("key", "rotate", "--keep", "1", keys)
    deadline = time.monotonic() + SOON
    while ask("ann") != 401:
        assert time.monotonic() < deadline, "the key that is gone still counts"
        time.sleep(0.1)
    log = server.log.read_text()
    assert not [token for token in tokens.values() if token in log]


@pytest.mark.parametrize(
    "password", ["", "short", "eleven char", " " * 12, "\t" * 20], ids=["empty", "short", "eleven", "spaces", "tabs"]
)
def test_a_weak_password_is_refused(guarded, admin, unique, password):
    body = {"username": unique, "password": password}
    answer = people.send(guarded.uri, "POST", "/api/2.0/mlflow/users/create", body, admin.user.headers)
    assert (answer.status, answer.code) == (400, "INVALID_PARAMETER_VALUE"), answer.text
    user = admin.add(unique)
    answer = people.send(guarded.uri, "PATCH", "/api/2.0/mlflow/users/update-password", body, admin.user.headers)
    assert (answer.status, answer.code) == (400, "INVALID_PARAMETER_VALUE"), answer.text
    assert people.send(guarded.uri, "GET", CURRENT, headers=user.headers).status == 200


def test_every_byte_of_a_long_password_counts(guarded, admin, unique):
    long = "x" * 72
    admin("POST", "2.0/mlflow/users/create", username=unique, password=long + "a")

    def log_in(password):
        return people.send(guarded.uri, "GET", CURRENT, headers={**people.basic(unique, password), **from_elsewhere()}).status

    assert [log_in(long + "b"), log_in(long), log_in(long + "a")] == [401, 401, 200]


def test_guesses_of_a_password_are_limited_per_account(guarded, admin, unique):
    user, token = admin.add(unique), admin.token(unique)[1]

    def guess(number):
        headers = {**people.basic(unique, f"guess number {number}"), **from_elsewhere()}
        answer = people.send(guarded.uri, "GET", CURRENT, headers=headers)
        if answer.status == 429:
            assert answer.code == "REQUEST_LIMIT_EXCEEDED" and int(answer.headers["Retry-After"]) >= 1
        return answer

    statuses = [guess(number).status for number in range(60)]
    assert statuses[:5] == [401] * 5 and set(statuses) == {401, 429}
    assert statuses.count(429) > 40
    assert people.send(guarded.uri, "GET", CURRENT, headers=people.bearer(token)).status == 200, "jobs go on"
    while int(guess(60).headers.get("Retry-After", 0)) < 6:
        pass  # so that the block is not over before the right password comes
    assert people.send(guarded.uri, "GET", CURRENT, headers={**user.headers, **from_elsewhere()}).status == 429


@pytest.mark.parametrize("kind", ["passwords", "tokens"])
def test_guesses_from_one_address_are_limited(guarded, kind, unique):
    address = from_elsewhere()

    def send(number):
        guess = people.basic(f"{unique}-{number}", "a guess") if kind == "passwords" else people.bearer(f"guess{number}")
        return people.send(guarded.uri, "GET", CURRENT, headers={**guess, **address})

    began = time.monotonic()
    answers = [send(number) for number in range(60)]
    statuses = [answer.status for answer in answers]
    if time.monotonic() - began < 60:  # the limit is one of guesses in a minute
        assert statuses == [401] * 30 + [429] * 30
    else:
        assert statuses[:30] == [401] * 30 and 429 in statuses
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers if answer.status == 429)


def test_nobody_learns_who_is_a_user(guarded, admin, unique):
    admin.add(unique)
    disabled = admin.add(unique + "-disabled")
    admin("PATCH", "3.0/greenroom/users/update-disabled", username=disabled.name, disabled=True)
    guesses = [(unique, "wrong"), (unique + "-nobody", "wrong"), (disabled.name, "wrong"), (disabled.name, disabled.password)]
    answers = set()
    for name, password in guesses:
        answer = people.send(guarded.uri, "GET", CURRENT, headers={**people.basic(name, password), **from_elsewhere()})
        answers.add((answer.status, answer.text))
    assert len(answers) == 1


def test_there_is_no_default_administrator(start_server, new_backend, database):
    server = start_server("ours", new_backend(database), arguments=["--auth", "--log-level", "debug"])
    for headers in ({}, people.basic("admin", "password1234"), people.basic("admin", "admin"), people.basic("", "")):
        assert people.send(server.uri, "GET", CURRENT, headers=headers).status == 401
    printed = server.log.read_text()
    assert "password1234" not in printed and printed.count("--setup-token greenroom_setup_") == 1


SEARCHES = [
    ("POST", "experiments/search", {"max_results": 1}, "experiments"),
    ("GET", "experiments/search?max_results=1", None, "experiments"),
    ("GET", "experiments/list?max_results=1", None, "experiments"),
    ("POST", "runs/search", {"experiment_ids": ["<experiment>"], "max_results": 1}, "runs"),
    ("POST", "logged-models/search", {"experiment_ids": ["<experiment>"]}, "models"),
    ("GET", "registered-models/search?max_results=1", None, "registered_models"),
    ("GET", "registered-models/search?filter=name%20LIKE%20'ch%25'", None, "registered_models"),
    ("GET", "registered-models/list?max_results=1", None, "registered_models"),
    ("GET", "model-versions/search?max_results=1", None, "model_versions"),
    ("GET", "model-versions/search?filter=name%3D'churn'", None, "model_versions"),
    ("GET", "model-versions/search?filter=run_id%3D'<run>'", None, "model_versions"),
]


@pytest.mark.parametrize(("method", "path", "body", "field"), SEARCHES, ids=lambda value: value if isinstance(value, str) else "")
def test_searches_show_a_stranger_nothing(worlds, method, path, body, field):
    """No row, no count, no name, and no page token that would tell how much there is."""
    world = worlds()
    world.admin("PATCH", "2.0/mlflow/registered-models/update", name=SECRET, description="newest")
    path, body = (text.replace("<experiment>", world.names["experiment"]).replace("<run>", world.names["run"]) if text else None for text in (path, json.dumps(body) if body else None))
    answers = {
        who: world.send(method, "/api/2.0/mlflow/" + path, body.encode() if body else None, {**world.headers[who], "Content-Type": "application/json"})
        for who in ("stranger", "reader")
    }
    assert answers["reader"].status == 200 and SECRET in answers["reader"].text + SECRET * (field in ("runs",))
    assert answers["reader"].json[field]
    seen = answers["stranger"]
    assert seen.status in (200, 403, 404), seen
    assert SECRET not in seen.text and world.names["run"] not in seen.text
    assert not [one for one in seen.json.get(field, []) if "mine" not in json.dumps(one)]
    assert not seen.json.get("next_page_token") or "max_results=1" in path
    world.look_again()


def test_a_narrowed_token_is_no_administrators(worlds):
    world = worlds()
    headers = people.bearer(world.admin.token(people.ADMIN, "narrow", role="viewer")[1])
    world.look_again()
    path = "/api/2.0/mlflow/registered-models/"
    assert world.send("GET", path + f"get?name={SECRET}", headers=headers).status == 200
    for method, path, body in (
        ("GET", "/api/2.0/mlflow/users/list", None),
        ("POST", "/api/2.0/mlflow/users/create", {"username": "eve", "password": "a long enough password"}),
        ("POST", "/api/3.0/greenroom/tokens/create", {"name": "wide", "expires": "1d"}),
        ("POST", "/api/3.0/greenroom/tokens/create", {"name": "wide", "expires": "1d", "role": "manager"}),
        ("PATCH", path + "update", {"name": SECRET, "description": "x"}),
        ("POST", "/api/2.0/mlflow/experiments/create", {"name": "eve"}),
    ):
        answer = world.send(method, path, body, headers)
        assert (answer.status, answer.code) == (403, "PERMISSION_DENIED"), (path, answer.text)
    world.assert_unchanged()


def test_secrets_are_kept_nowhere(worlds, issuer):
    """Not in the log, which every attack looks at, nor in the database, the audit log and the metrics."""
    world = worlds()
    jwt_of_a_user = issuer.token("judy")
    world.send("GET", CURRENT, headers=people.bearer(jwt_of_a_user))
    world.send("GET", CURRENT, headers=people.basic("stranger", "a password that is wrong"))
    world.send("POST", "/api/2.0/mlflow/users/create", b'{"username": "x", "password": "a broken body', world.headers["boss"])
    secrets = [*world.secrets, jwt_of_a_user, "a password that is wrong", "a broken body"]
    places = {
        "log": world.server.log.read_text(errors="replace"),
        "database": database_of.everything(world.server.backend_store_uri),
        "metrics": world.send("GET", "/metrics", headers=world.headers["boss"]).text,
        "audit log": world.send("GET", "/api/3.0/greenroom/audit/search?max_results=1000", headers=world.headers["boss"]).text,
    }
    assert not [(place, secret) for place, text in places.items() for secret in secrets if secret in text]
    world.look_again()
