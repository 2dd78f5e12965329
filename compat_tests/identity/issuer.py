"""An OpenID Connect issuer for tests: discovery, keys that rotate, and the tokens they sign."""

import base64
import http.server
import json
import threading
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

AUDIENCE = "greenroom-tests"


def private_key(alg):
    """A fresh key for RS256, ES256 or EdDSA."""
    if alg == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if alg == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Key:
    """A signing key: its id, its algorithm, and what the issuer publishes of it."""

    def __init__(self, kid, alg):
        self.kid, self.alg, self.private = kid, alg, private_key(alg)
        algorithm = jwt.get_algorithm_by_name(alg)
        self.public = {
            **json.loads(algorithm.to_jwk(self.private.public_key())),
            **{"kid": kid, "alg": alg, "use": "sig"},
        }
        self.public.pop("key_ops", None)


class Issuer:
    """Runs while it is open (``with``). ``keys`` are published, and tokens are signed by the last of them.

    GET /token/USER gives a token without asking who wants it. ``fetches`` holds the times at which the keys were asked for (time.monotonic); ``off`` makes it answer 503."""

    def __init__(self, *algs):
        self.keys = []
        for alg in algs or ("RS256",):
            self.add(alg)
        self.fetches = []
        self.off = False
        self.give = self.token  # what GET /token/USER answers
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.uri = "http://127.0.0.1:%d" % self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def arguments(self):
        """What makes greenroom server trust this issuer."""
        return ["--oidc-issuer", self.uri, "--oidc-audience", AUDIENCE]

    def add(self, alg):
        """Publishes one more key, which signs from now on."""
        self.keys.append(Key(f"key-{len(self.keys) + 1}-{alg}", alg))

    def claims(self, user, lifetime=600, **more):
        """What a token says; a claim that is None is left out."""
        now = int(time.time())
        claims = {
            **{"iss": self.uri, "aud": AUDIENCE, "sub": f"subject of {user}", "preferred_username": user},
            **{"iat": now, "exp": now + lifetime},
            **more,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, user, *, key=None, headers=None, **claims):
        """A token of the user, signed by the newest key or the given one."""
        key = key or self.keys[-1]
        return jwt.encode(self.claims(user, **claims), key.private, key.alg, {"kid": key.kid, **(headers or {})})

    def _handler(issuer):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                documents = {
                    "/.well-known/openid-configuration": {"issuer": issuer.uri, "jwks_uri": issuer.uri + "/keys"},
                    "/keys": {"keys": [key.public for key in issuer.keys]},
                }
                if self.path == "/keys":
                    issuer.fetches.append(time.monotonic())
                document = documents.get(self.path)
                body = json.dumps(document or {}).encode()
                if self.path.startswith("/token/"):
                    document = body = issuer.give(self.path.rpartition("/")[2]).encode()
                self.send_response(503 if issuer.off else 200 if document else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        return Handler


def unsigned(header, claims):
    """A token with any header and no signature, which no library would write."""
    parts = (json.dumps(part).encode() if isinstance(part, dict) else part for part in (header, claims, b""))
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
