"""The masks hide what a server must choose by itself, and nothing else."""

import time

import pytest
from conversation import Ours, Reply, compare
from masking import STORAGE_TEXT, Masker

ID = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    "body, masked",
    [
        ({"run_id": ID}, {"run_id": "<id1>"}),
        ({"artifact_uri": f"mlflow-artifacts:/7/{ID}/artifacts"}, {"artifact_uri": "mlflow-artifacts:/<exp>/<id1>/artifacts"}),
        ({"start_time": 1700000000000}, {"start_time": 1700000000000}),
        ({"creation_time": int(time.time() * 1000)}, {"creation_time": "<time>"}),
        ({"creation_time": 5, "last_update_time": 5}, {"creation_time": 5, "last_update_time": "<created>"}),
        ({"creation_time": 5, "last_update_time": 9}, {"creation_time": 5, "last_update_time": "<later>"}),
        ({"run_name": "brave-fox-12"}, {"run_name": "<generated name>"}),
        ({"value": "brave-fox-12"}, {"value": "brave-fox-12"}),
        ({"tags": [{"key": "b"}, {"key": "a"}]}, {"tags": [{"key": "a"}, {"key": "b"}]}),
        ({"tags": [{"key": "a"}, {"key": "greenroom.digest", "value": "sha256:0"}]}, {"tags": [{"key": "a"}]}),
        ({"tags": [{"key": "greenroom.digest", "value": "sha256:0"}], "version": "1"}, {"version": "1"}),
        ({"metrics": [{"key": "b"}, {"key": "a"}]}, {"metrics": [{"key": "b"}, {"key": "a"}]}),
        ({"next_page_token": "eyJvZmZzZXQiOiAyfQ=="}, {"next_page_token": {"token": {"offset": 2}}}),
        ({"next_page_token": "eyJvZmZzZXQiOiAyLCAiZ3JlZW5yb29tIjoge319"}, {"next_page_token": {"token": {"offset": 2}}}),
        ({"message": "Valid keys are '{'b', 'a'}'"}, {"message": "Valid keys are '{'a', 'b'}'"}),
        ({"message": "No Experiment with id=7 exists"}, {"message": "No Experiment with id=<exp> exists"}),
        ({"message": "exists. Error: (sqlite3.IntegrityError) UNIQUE\n[SQL: …]"}, {"message": "exists."}),
        ({"message": "(psycopg2.errors.UniqueViolation) x"}, {"message": STORAGE_TEXT}),
    ],
)
def test_mask(body, masked):
    masker = Masker()
    masker.name("7", "exp")
    assert masker.body(body) == masked


def _error(message, status=400, code="INVALID_PARAMETER_VALUE"):
    return Reply(status, {"error_code": code, "message": message}, {})


@pytest.mark.parametrize(
    "genuine, ours, agree",
    [
        (_error("bad"), _error("bad"), True),
        (_error("bad"), _error("bad (at position 3)"), True),
        (_error("bad (at position 3)"), _error("bad"), False),
        (_error("bad"), _error("worse"), False),
        (_error("bad", 500, "INTERNAL_ERROR"), _error("bad thing", 500, "INTERNAL_ERROR"), False),
        (_error("bad"), _error("bad", code="BAD_REQUEST"), False),
        (_error("bad"), _error("bad", status=404), False),
        (Reply(400, {"error_code": "X", "error_class": "A"}, {}), Reply(400, {"error_code": "X", "error_class": "B"}, {}), False),
        (Reply(200, {}, {}), Reply(200, {"a": 1}, {}), False),
        (Reply(200, "x", {"etag": '"1"'}), Reply(200, "x", {}), False),
    ],
)
def test_compare(genuine, ours, agree):
    assert (compare(genuine, ours) == "") is agree


def test_expected_answer_of_ours_is_asserted_in_full():
    assert not Ours(400, "INVALID_PARAMETER_VALUE", "bad").mismatch(_error("very bad"))
    assert Ours(400, "INVALID_PARAMETER_VALUE", "good").mismatch(_error("very bad"))
    assert Ours(404, "INVALID_PARAMETER_VALUE").mismatch(_error("very bad"))
    assert Ours(200, body={"a": {"b": 1}}).mismatch(Reply(200, {"a": {"b": 2}}, {}))
    assert not Ours(200, body={"a": {"b": 1}}).mismatch(Reply(200, {"a": {"b": 1, "c": 2}}, {}))
