"""The scenarios reach every route, with success and with failure, and exercise every known difference."""

import re

import known_differences
from conversation import API
from routes import CANNOT_FAIL, ROUTES

LEAST_PAIRS = 600
LEAST_SEARCHES = 150


def _absolute(pair):
    path = pair.path.split("?")[0]
    path = path if path.startswith("/") else API + path
    return path.replace("/ajax-api/", "/api/", 1)


def _pattern(route):
    """A route's path as a regular expression; an artifact path goes on to the end, other parameters are one segment."""
    path = re.escape(route).replace(re.escape("{artifact_path}"), ".+")
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", path))


def test_every_route_succeeds_and_fails(dialogue):
    pairs = [(pair.method, _absolute(pair), pair.genuine.status) for pair in dialogue.hold_all()]
    missing = []
    for method, route in ROUTES:
        pattern = _pattern(route)
        statuses = [status for m, path, status in pairs if m == method and pattern.fullmatch(path)]
        if not any(status < 300 for status in statuses):
            missing.append(f"{method} {route}: no call that succeeds")
        if (method, route) not in CANNOT_FAIL and not any(status >= 400 for status in statuses):
            missing.append(f"{method} {route}: no call that fails")
        if len(statuses) < 2:
            missing.append(f"{method} {route}: fewer than two calls")
    assert not missing, "\n".join(missing)


def test_there_are_enough_calls(dialogue):
    pairs = dialogue.hold_all()
    searches = [pair for pair in pairs if pair.path.endswith("search") and ("filter" in pair.request or "order_by" in pair.request)]
    assert len(pairs) >= LEAST_PAIRS
    assert len(searches) >= LEAST_SEARCHES


def test_every_known_difference_is_exercised(dialogue, s3_dialogue):
    used = {pair.differs for pair in dialogue.hold_all() + s3_dialogue.hold_all()} - {""}
    assert used == set(known_differences.BY_ID)


def test_known_differences_document_is_up_to_date():
    assert known_differences.DOCUMENT.read_text() == known_differences.table(), "run compat_tests/differential/known_differences.py"
