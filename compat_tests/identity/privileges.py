"""Who does what with a model in a team where nobody may do more than needed, each as themselves in turn.

``python privileges.py PREFIX`` reads from standard input the credentials of each person: a JSON object of environments. The model
PREFIX-churn is the data scientist's; ci has EDIT on it, the intern and serving have READ, the stranger has nothing.
Runs on Python 3.8; wants tour.py on its path."""

import json
import os
import sys

import mlflow
import mlflow.sklearn
from mlflow.exceptions import MlflowException
from tour import Tour, equal, logged_model, same, trained, true

PEOPLE = {}


def become(person):
    """The client reads its variables at each call."""
    for variable in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        os.environ.pop(variable, None)
    os.environ.update(PEOPLE[person])


def denied(t, says, call, *arguments, **named):
    """The call is refused, and the client shows why: an object that one may not read could also not be there."""
    try:
        result = call(*arguments, **named)
    except MlflowException as error:
        true(error.error_code in ("PERMISSION_DENIED", "RESOURCE_DOES_NOT_EXIST"), str(error))
        true(says in str(error), str(error))
        return
    raise AssertionError("not refused: {!r}".format(result))


def train(t, name):
    """The data scientist makes an experiment, two runs and the model's first two versions."""
    mlflow.set_experiment(name)
    model, x = trained()
    for _ in range(2):
        with mlflow.start_run() as run:
            mlflow.log_metric("auc", 0.75)
            logged_model(t, model, registered_model_name=name)
    equal(t.client.get_run(run.info.run_id).info.status, "FINISHED")
    return run, x, model.predict(x)


def promote(t, name):
    """CI promotes, and says why; it neither deletes nor touches other models."""
    t.client.transition_model_version_stage(name, "1", "Production")
    t.client.transition_model_version_stage(name, "2", "Production", archive_existing_versions=True)
    equal(t.client.get_model_version(name, "1").current_stage, "Archived")
    t.client.set_model_version_tag(name, "2", "approved", "yes")
    if t.version >= (2, 3):
        t.client.set_registered_model_alias(name, "champion", "2")
    needs = "needs MANAGE on registered model '{}' (has EDIT)".format(name)
    denied(t, needs, t.client.delete_model_version, name, "1")
    denied(t, needs, t.client.delete_registered_model, name)
    denied(t, "needs USE on the server", t.client.create_registered_model, name + "-of-ci")
    denied(t, "", t.client.set_registered_model_tag, name + "-other", "k", "v")


def look(t, name):
    """The intern reads the model, and changes nothing."""
    equal(t.client.get_registered_model(name).name, name)
    equal(sorted(int(v.version) for v in t.client.search_model_versions("name = '{}'".format(name))), [1, 2])
    found = [m.name for m in t.client.search_registered_models()]
    equal(found, [name])
    needs = "needs EDIT on registered model '{}' (has READ)".format(name)
    denied(t, needs, t.client.transition_model_version_stage, name, "1", "Production")
    denied(t, needs, t.client.set_registered_model_tag, name, "k", "v")
    denied(t, needs, t.client.create_model_version, name, "s3://bucket/evil")


def serve(t, name, run, x, want):
    """Serving loads by stage, with no permission but READ on the model; the run stays hidden."""
    same(mlflow.sklearn.load_model("models:/{}/Production".format(name)).predict(x), want)
    same(mlflow.sklearn.load_model("models:/{}/2".format(name)).predict(x), want)
    same(mlflow.pyfunc.load_model("models:/{}/latest".format(name)).predict(x), want)
    if t.version >= (2, 3):
        same(mlflow.sklearn.load_model("models:/{}@champion".format(name)).predict(x), want)
    denied(t, "", t.client.get_run, run.info.run_id)
    denied(t, "", t.client.log_metric, run.info.run_id, "auc", 1.0)


def pry(t, name, run):
    """The stranger finds nothing."""
    denied(t, "", t.client.get_registered_model, name)
    denied(t, "", t.client.get_run, run.info.run_id)
    denied(t, "", t.client.get_experiment, run.info.experiment_id)
    denied(t, "", mlflow.sklearn.load_model, "models:/{}/Production".format(name))
    denied(t, "", t.client.log_metric, run.info.run_id, "auc", 1.0)
    equal(list(t.client.search_registered_models()), [])
    equal(list(t.client.search_model_versions("name = '{}'".format(name))), [])
    if t.version >= (1, 28):
        equal(list(t.client.search_experiments()), [])
    if t.version >= (3,):
        equal(list(t.client.search_logged_models([run.info.experiment_id])), [])
    try:
        equal(list(t.client.search_runs([run.info.experiment_id])), [])
    except MlflowException as error:
        equal(error.error_code, "PERMISSION_DENIED")


def clean_up(t, name):
    """Who created it may delete it."""
    t.client.transition_model_version_stage(name, "2", "Archived")
    t.client.delete_model_version(name, "1")
    t.client.delete_registered_model(name)


def main(prefix):
    PEOPLE.update(json.load(sys.stdin))
    t, name = Tour(prefix), prefix + "-churn"
    become("scientist")
    run, x, want = train(t, name)
    become("ci")
    promote(t, name)
    become("intern")
    look(t, name)
    become("serving")
    serve(t, name, run, x, want)
    become("stranger")
    pry(t, name, run)
    become("scientist")
    clean_up(t, name)


if __name__ == "__main__":
    main(*sys.argv[1:])
