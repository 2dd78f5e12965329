"""Where Greenroom answers otherwise than MLflow 3.17.2 on purpose. The scenarios refer to these by id and assert both sides.

``python known_differences.py`` writes the table to docs/known_differences.md.
"""

import pathlib
import sys
from dataclasses import dataclass

from conversation import Ours

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "identity"))
import auth_differences

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs" / "known_differences.md"


@dataclass
class Difference:
    """One known difference; where names the calls, genuine and ours what each server does."""

    id: str
    where: str
    genuine: str
    ours: str
    why: str


DIFFERENCES = [
    Difference(
        "server-error-for-a-user-mistake",
        "any call",
        "answers some malformed requests (a list for a number, a JSON array as body, a bad page token, a filter on an unknown attribute) with 500",
        "answers 400 with a message that names the field",
        "clients retry a 5xx seven times and lose the message",
    ),
    Difference(
        "wrong-type-dropped",
        "any call",
        "drops a value of a wrong type in silence, often with everything after it, and answers 200",
        "answers 400 and changes nothing",
        "the caller believes that what was sent was stored",
    ),
    Difference(
        "silent-zero",
        "runs/log-metric, runs/log-batch",
        'logs 0 at time 0 for a literal NaN, for "nan" in lower case and for a fractional timestamp',
        'takes "nan" and "inf" in any case; answers 400 to the rest',
        "a metric of 0 that was never measured is worse than an error",
    ),
    Difference(
        "unknown-enum-name",
        "runs/update, runs/search, experiments/search, logged-models/{model_id}",
        "ignores an unknown status or view type",
        "answers 400 with the names it knows",
        "a misspelt status would leave a run RUNNING for ever",
    ),
    Difference(
        "body-not-json",
        "any call with a body",
        "reads a body that is not JSON as {}",
        "answers 400 and says where the JSON ends to be valid",
        "a call without required fields would succeed",
    ),
    Difference(
        "duplicate-json-name",
        "any call with a body",
        "takes the last of two fields with one name",
        "answers 400",
        "one of the two values would be lost without notice",
    ),
    Difference(
        "deep-json",
        "any call with a body",
        "parses any depth",
        "answers 400 beyond 64 levels",
        "no MLflow message nests deeper than five; depth costs memory",
    ),
    Difference(
        "sql-text-in-errors",
        "calls that violate a database constraint",
        "answers BAD_REQUEST with the database's error and the SQL statement",
        "answers the matching error code and names the value",
        "SQL is of no use to the caller, and tells an attacker much",
    ),
    Difference(
        "over-long-names",
        "names, keys and locations of experiments, runs, models, versions",
        "accepts on SQLite what its PostgreSQL schema refuses",
        "refuses with 400 what doesn't fit the PostgreSQL column, on both databases",
        "a project can move from SQLite to PostgreSQL",
    ),
    Difference(
        "number-beyond-64-bits",
        "calls that take an id or a number",
        "answers 500 on SQLite to ids, and drops numbers in silence",
        "answers as for an id that doesn't exist, or 400",
        "clients retry a 5xx seven times",
    ),
    Difference(
        "clearer-message",
        "several refused calls",
        "its message is about something else, or names a setting that Greenroom does not have",
        "same status and error_code, with a message about the actual mistake",
        "the message is what the user sees",
    ),
    Difference(
        "rename-deleted-experiment",
        "experiments/update",
        "answers 500 INVALID_STATE",
        "answers 400",
        "clients retry a 5xx seven times",
    ),
    Difference(
        "run-uuid-everywhere",
        "runs/delete, runs/restore, runs/delete-tag",
        "ignores run_uuid, the old name of run_id",
        "takes either",
        "the other run calls take either",
    ),
    Difference(
        "two-runs-named",
        "runs/*, artifacts/list, get-artifact, metrics/get-history",
        "takes run_id and ignores a run_uuid that names another run; takes one of several values of a query parameter",
        "answers 400",
        "the caller means one of the two, and a check of permissions could look at the other",
    ),
    Difference(
        "confusing-model-name",
        "registered-models/create, registered-models/rename",
        "takes names with control or invisible characters, percent escapes, spaces at the ends, or letters and accents as separate characters",
        "answers 400; models that have such a name already can be used",
        "such a name passes for that of another model, or becomes it in a URL",
    ),
    Difference(
        "location-leads-upwards",
        "experiments/create",
        "takes an artifact_location such as mlflow-artifacts:/../x",
        "answers 400",
        "nothing can be stored there",
    ),
    Difference(
        "location-elsewhere",
        "experiments/create, model-versions/create",
        "takes an artifact_location anywhere, such as /etc or another bucket, and a source in any bucket",
        "answers 400, unless it is in the server's own stores, in the folder of the run or logged model, or below a prefix of --allow-artifact-prefix",
        "whoever reads it, the server or a client, would use its own rights where somebody else chose",
    ),
    Difference(
        "live-versions-are-frozen",
        "mlflow-artifacts/artifacts, upload-artifact",
        "lets files of a model version in Staging or Production be overwritten and deleted",
        "answers 409 RESOURCE_CONFLICT, unless it runs with --allow-live-artifact-changes",
        "what was approved must be what is loaded",
    ),
    Difference(
        "blind-retry",
        "model-versions/create, runs/outputs",
        "makes a second version when a client's retry repeats a call that had succeeded; answers the second runs/outputs with 400",
        "answers the repetition with what the first call made",
        "clients retry after a lost answer; nobody asked for two versions",
    ),
    Difference(
        "delete-everything",
        "DELETE mlflow-artifacts/artifacts/.",
        "removes all artifacts of all experiments, and answers 500",
        "answers 400",
        "a client that joins an empty path must not wipe the store",
    ),
    Difference(
        "dropped-by-mlflow-3",
        "experiments/list, registered-models/list, /api/2.0/preview/mlflow/*",
        "answers 404",
        "serves them",
        "clients 1.x call them",
    ),
    Difference(
        "errors-are-json",
        "unknown routes, wrong methods, artifact paths that are refused",
        "answers an HTML page, or `{\"detail\": …}`",
        "answers MLflow's JSON error with an error_code",
        "clients show the message",
    ),
    Difference(
        "nonsense-refused",
        "searches, logged-models/{model_id}/tags, runs/log-inputs",
        "accepts a page size of 0 or less, tags and datasets without a key or name, a dataset digest without the dataset",
        "answers 400",
        "what is stored or answered then is of no use to anyone",
    ),
    Difference(
        "more-is-understood",
        "any call, logged-models/search",
        "refuses required fields in camelCase, `Application/JSON`, and `attributes.` before a field to order by",
        "understands them, as it does everywhere else",
        "one rule for all fields",
    ),
    Difference(
        "artifact-names",
        "mlflow-artifacts/artifacts/{artifact_path}",
        "stores names with `?`, a backslash or a NUL's escape; answers 500 to `./x` and `//x`",
        "refuses the former with 400; reads the latter as `x`",
        "such names can't be fetched again from every client and store",
    ),
    Difference(
        "content-types",
        "/version; GET mlflow-artifacts/artifacts/{artifact_path}",
        "calls its version text/html, and a .tar.gz file application/x-tar",
        "calls them text/plain and application/gzip",
        "that is what they are",
    ),
    Difference(
        "features-not-served",
        "/api/3.0/mlflow/server-info",
        "announces its gateway, and no parallel transfers with a local folder",
        "announces what it serves: no gateway, and parallel transfers with every store, by signed URLs of its own where the store has none",
        "clients choose their calls by it",
    ),
    Difference(
        "s3-through-the-server",
        "GET and HEAD mlflow-artifacts/artifacts/{artifact_path}, get-artifact, with artifacts in S3",
        "answers 500 for a file that doesn't exist, 200 with nothing for a folder, and all of a file where a range is asked for",
        "answers 404, 400 and 206, as with artifacts in a folder",
        "clients retry a 5xx seven times; a broken download can be resumed",
    ),
    Difference(
        "multipart-mistakes",
        "mlflow-artifacts/mpu/{step}/{artifact_path}",
        "answers 500 to an upload that doesn't exist and to parts that don't fit; begins uploads of no parts, of 10001, and of `..`",
        "answers 404 or 400 with what is wrong; what is to be aborted and doesn't exist is aborted already",
        "clients retry a 5xx seven times, and abort an upload whatever has become of it",
    ),
    Difference(
        "transfer-urls",
        "mlflow-artifacts/mpu/create, mlflow-artifacts/presigned, artifacts/presigned-upload-url",
        "its URLs are good for an hour (parts), five minutes (downloads), or as long as the caller asks for, be it nothing or more than S3 allows (uploads)",
        "for twelve hours, fifteen minutes, and from a second to an hour; a download is bound to the file's ETag by a header that clients send along",
        "a client gets all URLs when it begins, however slow it is; a file that is replaced meanwhile must not be mixed with the new one; a URL for uploads outlives a change of permissions",
    ),
    Difference(
        "backslash-in-like",
        "filters with LIKE and ILIKE",
        "on PostgreSQL takes a backslash as an escape, on SQLite as itself",
        "takes it as itself on both",
        "a filter finds the same on both databases",
    ),
    Difference(
        "half-landed-batch",
        "runs/log-batch",
        "keeps what was written before a batch failed in the database",
        "writes all of a batch or nothing",
        "a batch that was refused can be sent again after correction",
    ),
    Difference(
        "digest-tag",
        "model-versions/create, set-tag, delete-tag, and every answer with a model version",
        "takes the tag greenroom.digest as any other",
        "sets the tag itself, to the digest of the version's files, some moments after the version was made; leaves a client's out of create, and answers 400 to set-tag and delete-tag",
        "a digest that a client could set would prove nothing",
    ),
]

BY_ID = {difference.id: difference for difference in DIFFERENCES}


def refused(id, says="", genuine=200, code="INVALID_PARAMETER_VALUE", status=400):
    """Options of a call that genuine answers with the given status and we refuse; says is a part of our message."""
    return {"differs": id, "genuine": genuine, "ours": Ours(status, code, says)}


def crashes(says="", **more):
    """Options of a call that genuine answers with 500 although the caller is at fault."""
    return refused("server-error-for-a-user-mistake", says, genuine=500, **more)


def dropped(says="", **more):
    """Options of a call whose wrongly typed value genuine drops in silence."""
    return refused("wrong-type-dropped", says, **more)


def clearer(says, **more):
    """Options of a call that both refuse with the same status and code, we with a better message."""
    return refused("clearer-message", says, genuine=400, **more)


def table():
    """The known differences as Markdown."""
    lines = [
        "# Known differences from MLflow 3.17.2",
        "",
        "Each row is asserted by the tests in `compat_tests/differential`, on both servers. This file is written by",
        "`python compat_tests/differential/known_differences.py`.",
        "",
        "| id | where | MLflow 3.17.2 | Greenroom | why |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| `{d.id}` | {d.where} | {d.genuine} | {d.ours} | {d.why} |" for d in DIFFERENCES]
    lines += [
        "",
        "## Users and permissions",
        "",
        "MLflow is its app basic-auth, of 3.17.2 for the calls that it has, else of 3.6.0. Asserted by `compat_tests/identity`.",
        "",
        "| id | where | MLflow | Greenroom | why |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| `{d.id}` | {d.where} | {d.genuine} | {d.ours} | {d.why} |" for d in auth_differences.DIFFERENCES]
    lines += [
        "",
        "## Elsewhere",
        "",
        "Three sorts of differences have their lists elsewhere:",
        "",
        "- The wording of filter and order errors, and the few filters that only one side takes: `searchDifferences` in",
        "  `models/search_schemas_test.go`, each row shown by a question whose answer was recorded from genuine MLflow.",
        "- Host and Origin: a refusal is JSON with `PERMISSION_DENIED` (plain text in MLflow) and names the flag to set; names that only",
        "  begin like a private address (`10.evil.example`) are refused; the server's own origin and `--host` are allowed; an",
        "  accepted preflight answers 204. `mlflowapi/security_test.go`.",
        "- Artifacts: with `--no-serve-artifacts` the proxy routes answer 403 (503 in MLflow, which clients retry), a full disk is a 507.",
        "  `mlflowapi/artifacts_test.go`.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(table())
