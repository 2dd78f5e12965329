"""What may differ between two servers' answers to the same call, and is therefore replaced before they are compared.

Only what a server must choose by itself is masked: ids, the clock, generated names, the storage engine's own error texts.
Times that a client sent (a run's start_time, a metric's timestamp) are compared as they are.
"""

import base64
import json
import re
import time
import urllib.parse

HEX_ID = re.compile(r"(?<![0-9a-f])(?:m-)?[0-9a-f]{32}(?![0-9a-f])")
GENERATED_NAME = re.compile(r"^[a-z]+-[a-z]+-\d{1,4}$")
PYTHON_SET = re.compile(r"\{('[^'{}]*'(?:, '[^'{}]*')*)\}")
# An experiment id is a small number, so it is masked only where the text says that it is one.
EXPERIMENT_CONTEXT = re.compile(r"(mlflow-artifacts:/|[Ee]xperiment (?:with )?(?:id[= ]?)?'?|experiment_id='?|in experiment with id )(\d+)")
EXPERIMENT_FOLDER = re.compile(r"(?<![\w/])(\d+)(?=/(?:<|models/))")
EXPERIMENT_LIST = re.compile(r"(?<=\[')(\d+)(?='\])")
# The storage engine's words that genuine MLflow appends to its own.
STORAGE_SUFFIX = re.compile(r"\s*(?:Error: )?\(?(?:raised as a result of Query-invoked autoflush|\((?:sqlite3|psycopg2)\.).*", re.DOTALL)
STORAGE_TEXT = "<storage engine's text>"

# What S3 says of one request in its errors.
S3_REQUEST = re.compile(r"<(RequestId|HostId|UploadId)>[^<]*")

# Lists whose order genuine MLflow leaves to the database.
UNORDERED = {"tags", "params", "aliases", "latest_versions", "dataset_inputs", "model_inputs", "model_outputs"}
# Tags that the server writes as JSON, whose spacing and order of names mean nothing.
JSON_TAGS = {"mlflow.log-model.history", "mlflow.modelVersions"}
# The tag that Greenroom adds to a model version some time after it was made, from its files.
DIGEST_TAG = "greenroom.digest"
NAME_FIELDS = {"run_name", "name"}
# Of a presigned URL the signature, its moment, and what an SDK tells about itself are the server's own.
URL_FIELDS = {"url", "presigned_url"}
URL_QUERY = {"partNumber", "X-Amz-Expires", "X-Amz-Algorithm", "X-Amz-SignedHeaders", "response-content-disposition"}
# A server may read the clock twice in one call; two calls are further apart, because the other server answers in between.
SAME_MOMENT_MS = 1
UPDATES = (
    ("creation_time", "last_update_time"),
    ("creation_timestamp", "last_updated_timestamp"),
    ("creation_timestamp_ms", "last_updated_timestamp_ms"),
)
RECENT_MS = 6 * 3600 * 1000


class Masker:
    """Replaces one server's own values by placeholders, numbered by first appearance within a scenario."""

    def __init__(self):
        self._placeholders = {}
        self._experiments = {}
        self._names = {}

    def name(self, value, placeholder):
        """Calls value by the name under which the scenario keeps it."""
        table = self._experiments if value.isdigit() else self._placeholders if HEX_ID.fullmatch(value) else self._names
        table.setdefault(value, f"<{placeholder}>")

    def text(self, value):
        """Masks ids and Python's set order inside a string."""
        for known, placeholder in self._names.items():
            value = value.replace(known, placeholder)
        value = HEX_ID.sub(lambda m: self._placeholder(m.group()), value)
        value = EXPERIMENT_CONTEXT.sub(lambda m: m.group(1) + self._experiments.get(m.group(2), m.group(2)), value)
        for known_place in (EXPERIMENT_FOLDER, EXPERIMENT_LIST):
            value = known_place.sub(lambda m: self._experiments.get(m.group(1), m.group(1)), value)
        value = S3_REQUEST.sub(r"<\1>", value)
        return PYTHON_SET.sub(lambda m: "{" + ", ".join(sorted(m.group(1).split(", "))) + "}", value)

    def message(self, value):
        """Masks an error message; what SQLAlchemy appended to it is cut, what it wrote alone becomes STORAGE_TEXT."""
        return self.text(STORAGE_SUFFIX.sub("", value)) or STORAGE_TEXT

    def body(self, value, field=""):
        """Masks a decoded JSON answer."""
        if isinstance(value, dict):
            value = without_digest(_updated(value))
            masked = {k: self.body(v, k) for k, v in value.items()}
            if value.get("key") == "mlflow.runName" and GENERATED_NAME.match(str(value.get("value"))):
                masked["value"] = "<generated name>"
            if value.get("key") in JSON_TAGS:
                masked["value"] = json.loads(masked["value"])
            if field == "data" and "metrics" in masked:
                masked["metrics"].sort(key=_order)
            return masked
        if isinstance(value, list):
            items = [self.body(v, field) for v in value]
            return sorted(items, key=_order) if field in UNORDERED else items
        if isinstance(value, str):
            return self._string(value, field)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value - time.time() * 1000) < RECENT_MS:
            return "<time>"
        return value

    def _string(self, value, field):
        if field in ("experiment_id", "experiment_ids"):
            return value if value == "0" else self._experiments.setdefault(value, f"<experiment{len(self._experiments) + 1}>")
        if field in NAME_FIELDS and GENERATED_NAME.match(value):
            return "<generated name>"
        if field == "upload_id":
            return "<upload>"
        if field in URL_FIELDS:
            return self._url(value)
        if field == "next_page_token":
            return self._token(value)
        if field == "message":
            return self.message(value)
        return self.text(value)

    def _url(self, value):
        address, _, query = value.partition("?")
        wanted = ((k, plain_disposition(v)) for k, v in urllib.parse.parse_qsl(query) if k in URL_QUERY)
        return self.text(address), sorted((k, self.text(v)) for k, v in wanted)

    def _token(self, value):
        try:
            token = json.loads(base64.b64decode(value))
            if isinstance(token, dict):
                token.pop("greenroom", None)  # what MLflow ignores in a token
            return {"token": self.body(token)}
        except ValueError:
            return value

    def _placeholder(self, value):
        if len(set(value.removeprefix("m-"))) == 1:
            return value  # an id that a scenario made up
        return self._placeholders.setdefault(value, f"<id{len(self._placeholders) + 1}>")


def without_digest(item):
    """Leaves DIGEST_TAG out of an object; a list of tags without tags is not sent."""
    if not isinstance(item.get("tags"), list) or not any(tag.get("key") == DIGEST_TAG for tag in item["tags"]):
        return item
    tags = [tag for tag in item["tags"] if tag.get("key") != DIGEST_TAG]
    return {**item, "tags": tags} if tags else {k: v for k, v in item.items() if k != "tags"}


def plain_disposition(value):
    """A Content-Disposition without the quotes that its file name need not have, and with the charset's name in one spelling."""
    return re.sub(r'filename="([^"\s;,=]+)"', r"filename=\1", value).replace("*=UTF-8''", "*=utf-8''")


def _updated(item):
    """Tells of an object's last update only whether it came after its creation."""
    for created, updated in UPDATES:
        if isinstance(item.get(created), int) and isinstance(item.get(updated), int):
            return {**item, updated: "<created>" if item[updated] - item[created] <= SAME_MOMENT_MS else "<later>"}
    return item


def _order(item):
    return json.dumps(item, sort_keys=True)
