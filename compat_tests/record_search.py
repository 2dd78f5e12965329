"""Record what genuine MLflow answers to filters and order_by items, for the Go tests of the search vocabularies.

Usage: python compat_tests/record_search.py   (in an environment with mlflow 3.17.2)

It fills a new SQLite database with models/testdata/search/rows.sql, asks MLflow's stores, and writes
models/testdata/search/record.jsonl: per line the entity, the filter or the order, and the ids found, in order,
or the error ("bad": a 400, "internal": a 500).
"""

import json
import pathlib
import sqlite3
import tempfile

import mlflow.store.db.utils  # noqa: F401
from mlflow.exceptions import MlflowException
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as RegistryStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as TrackingStore

DATA = pathlib.Path(__file__).parent.parent / "models" / "testdata" / "search"

# Clauses on one identifier: {i} is the identifier.
TEXT_VALUES = ["= '{v}'", '= "{v}"', "!= '{v}'", "LIKE '{v}%'", "like '{v}'", "ILIKE '%{v}%'", "ilike '{v}'"]
FORMS = [
    "= 1", "= 1.5", "> 1", "> 1.5", "<= 200", "!= 0", "= -1", "= '1'", "> 'a'", "= x", "= `x`", "== 'x'", "<> 'x'",
    "IN ('one', 'r1', 'churn')", "in ('r1')", "NOT IN ('r1', 'churn')", "not in ('r1')", "IN ()", "IN (1, 2)", "IN (1)", "IN ('a' 1)",
    "IN ('r1',)", "= ('r1')", "IS NULL", "IS NOT NULL", "is null", "is  not null", "NOT LIKE 'x'", "RLIKE 'x'", "LIKE 1", "= ''",
]
IDENTIFIERS = {
    "runs": {
        "metrics.loss": "0", "metric.acc": "0", "params.lr": "0.1", "parameter.opt": "Adam", "param.nope": "x", "tags.env": "prod",
        "tag.`a b`": "x", 'tags."a b"': "x", "tags.a.b": "it", "tags.path": "c\\d", "run_id": "r1", "attributes.run_id": "R1", "attr.run_name": "two",
        "run.`Run name`": "old", "`run name`": "two", "status": "FINISHED", "user_id": "ann", "artifact_uri": "/a/1", "start_time": "200", "attribute.end_time": "200",
        "created": "200", "datasets.name": "train", "dataset.digest": "aa", "dataset.context": "eval", "dataset.bad": "x", "foo.bar": "x", "nope": "x", "METRICS.loss": "0",
        "lifecycle_stage": "active", "`metrics`.loss": "0", "tags.empty": "",
    },
    "experiments": {
        "name": "churn", "attribute.name": "Churn", "attributes.name": "churn", "`name`": "a\\b", "experiment_id": "1", "creation_time": "2000", "attribute.last_update_time": "3000",
        "tags.team": "red", "tag.`a b`": "x", "tags.mlflow.note": "it", "metrics.a": "1", "nope": "x",
    },
    "registered_models": {
        "name": "churn", "attribute.name": "fraud", "`name`": "churn", "tags.team": "red", "tag.stage": "x", "creation_timestamp": "1", "foo.x": "1",
        "tags.`mlflow.prompt.is_prompt`": "true", 'tag."mlflow.prompt.is_prompt"': "false",
    },
    "model_versions": {
        "name": "churn", "run_id": "r1", "source_path": "/src/", "version_number": "1", "attribute.version_number": "10", "tags.team": "red", "creation_timestamp": "1",
        "tags.`mlflow.prompt.is_prompt`": "true", "metrics.a": "1", "current_stage": "None",
    },
    "logged_models": {
        "name": "docs", "attributes.name": "Docs", "model_id": "m1", "model_type": "Agent", "source_run_id": "r1", "status": "2", "experiment_id": "1", "creation_timestamp": "20",
        "creation_time": "20", "attributes.last_updated_timestamp": "20", "metrics.auc": "0.6", "params.lr": "0.1", "tags.env": "prod", "tags.`a b`": "x", "metric.auc": "1",
        "metrics.f1-score": "0.6", "artifact_location": "/m/1", "nope": "x",
    },
}
# Whole filters; they fit every entity in so far as the answer to nonsense is of interest too.
FILTERS = [
    "", " ", "AND", "name = 'churn' AND", " AND name = 'churn'", "name = 'churn' AND AND tags.team = 'red'", "name = 'churn' and tags.team = 'red'",
    "name = 'churn' tags.team = 'red'", "name = 'churn' OR name = 'fraud'", "NOT name = 'churn'", "(name = 'churn')", "name = 'churn' AND (tags.team = 'red')",
    "name = 'churn';", "name = 'churn'; name = 'fraud'", "name", "name =", "= 'churn'", "name 'churn'", "foo bar baz", "name = 'churn", "name BETWEEN 'a' AND 'b'",
    "'churn' = name", "1 = 1", "name = 'churn' -- comment", "name='churn'", "name\n=\t'churn'", "name = 'it''s'", "name = 'it\\'s'", "name LIKE '%_%'", "name LIKE 'fraud\\_%'",
    "name LIKE 'a\\b'", "name LIKE '%\\%'", "tags.team = 'red' AND tags.team LIKE 'r%'", "tags.team = 'red' AND tags.stage = 'x'", "name = 'a' OR", "name % 'a'", "name = = 'a'", "*", "🙂", "name = '🙂'",
    "name IN ('churn', \"fraud\")", "name IN ('churn' , 'fraud' , )", "name IN (a, b)", "name IN ('churn'", "name IN 'churn'", "tags.`a b` = 'x'", "tags.a/b = 'x'", "tags.a-b = 'x'", "tags.a:b = 'x'",
    "name = churn", "name = churn.x", "name = 'churn' AND nope = 'x'", "name IS NULL AND name = 'a'", "tags.team IS NOT NULL AND name LIKE 'c%'", "NULL", "name = NULL", "name = TRUE",
    "tags.`mlflow.prompt.is_prompt` = 'true' AND name = 'greet'", "name = 'greet' AND tags.`mlflow.prompt.is_prompt` = 'true'", "name = 'greet' AND tag.`mlflow.prompt.is_prompt` != 'true'",
    "tags.`mlflow.prompt.is_prompt` = 'True'", "tags.`mlflow.prompt.is_prompt` = 'false' AND tags.team = 'red'", "tags.`mlflow.prompt.is_prompt` != 'false' AND tags.team = 'red'",
    "tags.`mlflow.prompt.is_prompt` LIKE 'true' AND tags.team = 'red'", "tags.`mlflow.prompt.is_prompt` = 'false' AND tags.`mlflow.prompt.is_prompt` = 'true'",
    "metrics.loss > 0 AND params.lr = '0.1'", "metrics.loss > -1e300", "metrics.loss < 1e999", "metrics.loss >= 0", "metrics.loss != 0.5", "metrics.loss = 0", "metrics.acc <= 0", "metrics.`a b` = 3",
    "metrics.f1-score > 0.5", "metrics.`f1-score` > 0.5", "metrics.loss > .4", "metrics.loss > 1.", "metrics.loss > 5e-1", "metrics.loss > 0x10", "metrics.loss > +1", "metrics.loss > inf", "metrics.loss > NaN",
    "metrics.loss BETWEEN 0 AND 1", "metrics.loss > 1e3 AND metrics.loss < 1E3", "start_time > 99999999999999999999", "creation_time > 99999999999999999999", "experiment_id = '99999999999'",
    "version_number = 99999999999", "experiment_id IN ('1', '2')", "experiment_id NOT IN ('1')", "experiment_id IN ('1', 'x')", "experiment_id = 'x'", "version_number = '2'", "version_number > 1 AND name = 'churn'",
    "version_number = 'x'", "dataset.name = 'train' AND dataset.context = 'training'", "dataset.name = 'Eval' AND dataset.context = 'training'", "dataset.context LIKE 'e%'", "dataset.name IN ('train', 'x')",
    "status = 'READY'", "status = 2", "status != 2", "status IN ('1', '2')", "status > 1", "status LIKE '2'", "model_type = \"Agent\"", "model_type = Agent", "metrics.auc > 0.6", "metrics.auc = 0.5",
    "params.lr = 0.1", "params.opt ILIKE 'ADAM'", "params.opt NOT LIKE 'x'", "tags.env IS NULL AND tags.path IS NULL", "params.lr IS NULL", "tags.a.b LIKE 'it%'", "tags.path LIKE 'c\\d'",
]
ORDERS = {
    "runs": [
        [], ["start_time"], ["start_time DESC"], ["end_time"], ["end_time DESC"], ["metrics.loss"], ["metrics.loss DESC"], ["metrics.loss desc", "start_time asc"], ["metrics.acc", "run_id DESC"],
        ["params.lr"], ["params.lr DESC", "metrics.loss"], ["tags.env"], ["tags.`a b` DESC"], ["tag.a.b"], ["run_name"], ["attributes.run_name DESC"], ["status", "user_id"], ["user_id DESC"], ["created"], ["Created desc"],
        ["`Run name`"], ["start_time", "start_time"], ["start_time", "created DESC"], ["metrics.loss", "metric.loss DESC"], ["dataset.name"], ["nope"], ["foo.bar"], ["start_time foo"], ["start_time ASC DESC"], [""], ["start_time, end_time"],
        ["start_time;"], ["'start_time'"], ["metrics."], ["metrics.`a b` desc"], ['metrics."a b"'], ["metrics.f1-score"], ["1"], ["metrics.nope", "end_time"], ["METRICS.loss"], ["artifact_uri DESC"],
    ],
    "experiments": [
        [], ["name"], ["name DESC"], ["experiment_id"], ["experiment_id DESC"], ["creation_time"], ["last_update_time DESC"], ["creation_time", "name"], ["attribute.name"], ["attributes.name"], ["tags.team"], ["nope"], ["name", "name DESC"],
        ["name foo"], [""], ["name, experiment_id"], ["metrics.a"],
    ],
    "registered_models": [
        [], ["name"], ["name DESC"], ["timestamp"], ["timestamp DESC"], ["last_updated_timestamp"], ["last_updated_timestamp DESC", "name DESC"], ["timestamp", "last_updated_timestamp"], ["creation_timestamp"], ["attribute.name"], ["tags.team"], ["name foo"], [""],
        ["name", "name"],
    ],
    "model_versions": [
        [], ["name"], ["name DESC"], ["version_number"], ["version_number DESC"], ["creation_timestamp"], ["last_updated_timestamp ASC"], ["name", "version_number"], ["run_id"], ["tags.team"], ["name", "name"], ["version"], ["attribute.name desc"], [""],
    ],
    "logged_models": [
        [], [{"field_name": "name"}], [{"field_name": "name", "ascending": False}], [{"field_name": "creation_timestamp"}], [{"field_name": "creation_time", "ascending": False}], [{"field_name": "last_updated_timestamp"}],
        [{"field_name": "model_type"}], [{"field_name": "model_type", "ascending": False}], [{"field_name": "metrics.auc"}], [{"field_name": "metrics.auc", "ascending": False}], [{"field_name": "metrics.auc", "dataset_name": "train"}],
        [{"field_name": "metrics.auc", "dataset_name": "train", "dataset_digest": "aa"}], [{"field_name": "metrics.auc", "dataset_name": "Eval", "ascending": False}], [{"field_name": "metrics.f1-score"}], [{"field_name": "params.lr"}],
        [{"field_name": "nope"}], [{"field_name": "status"}, {"field_name": "name"}], [{"field_name": "model_id", "ascending": False}],
    ],
}
DATASETS = [
    ("", [{"dataset_name": "train"}]), ("", [{"dataset_name": "train", "dataset_digest": "aa"}]), ("", [{"dataset_name": "train", "dataset_digest": "cc"}]), ("", [{"dataset_name": "nope"}]),
    ("metrics.auc > 0.6", [{"dataset_name": "train", "dataset_digest": "aa"}]), ("metrics.auc > 0.6", [{"dataset_name": "train"}]),
    ("metrics.auc > 0.5", [{"dataset_name": "train", "dataset_digest": "aa"}, {"dataset_name": "Eval", "dataset_digest": "bb"}]),
    ("name = 'docs'", [{"dataset_name": "train", "dataset_digest": "aa"}]), ("metrics.auc > 0 AND tags.env = 'Prod'", [{"dataset_name": "Eval", "dataset_digest": "bb"}]),
    ("", [{"dataset_name": ""}]),
]


def filters(entity):
    yield from FILTERS
    for identifier, value in IDENTIFIERS[entity].items():
        for form in [t.replace("{v}", value) for t in TEXT_VALUES] + FORMS:
            yield f"{identifier} {form}"


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "mlflow.db"
        tracking = TrackingStore(f"sqlite:///{path}", str(pathlib.Path(folder) / "artifacts"))
        registry = RegistryStore(f"sqlite:///{path}")
        with sqlite3.connect(path) as db:
            db.execute("DELETE FROM experiments")
            db.executescript((DATA / "rows.sql").read_text())

        def ask(entity, filter=None, order=None, datasets=None):
            if entity == "runs":
                return [r.info.run_id for r in tracking.search_runs(["1"], filter, 1, 1000, order)]
            if entity == "experiments":
                return [e.experiment_id for e in tracking.search_experiments(1, 1000, filter, order)]
            if entity == "registered_models":
                return [m.name for m in registry.search_registered_models(filter, 1000, order)]
            if entity == "model_versions":
                return [f"{v.name}/{v.version}" for v in registry.search_model_versions(filter, 1000, order)]
            datasets = datasets and [{"dataset_name": d["dataset_name"], "dataset_digest": d.get("dataset_digest")} for d in datasets]
            return [m.model_id for m in tracking.search_logged_models(["1"], filter, datasets, 1000, order)]

        lines = []

        def record(entity, **question):
            line = {"entity": entity, **question}
            try:
                line["ids"] = ask(entity, **question)
            except MlflowException as e:
                line["bad" if e.error_code == "INVALID_PARAMETER_VALUE" else "internal"] = e.message[:400]
            except Exception as e:
                line["internal"] = type(e).__name__
            lines.append(json.dumps(line, ensure_ascii=False))

        for entity in IDENTIFIERS:
            for f in dict.fromkeys(filters(entity)):
                record(entity, filter=f)
            for order in ORDERS[entity]:
                record(entity, order=order)
        for f, datasets in DATASETS:
            record("logged_models", filter=f, datasets=datasets)
        (DATA / "record.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
