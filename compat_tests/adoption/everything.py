"""Makes one of everything that a server keeps, through the client: ``python everything.py make|change`` with
MLFLOW_TRACKING_URI set. ``make`` is for an empty server; ``change`` touches, on a server with what ``make`` made, each kind once more."""

import math
import sys

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    Param,
    RunTag,
)

client = MlflowClient()
T0 = 1_700_000_000_000


def make():
    experiments()
    run = runs()
    models = logged_models(run)
    registry(run, models)
    prompts()


def experiments():
    client.set_experiment_tag("0", "owner", "everyone")
    client.create_experiment("churn", tags={"team": "growth", "mlflow.note.content": "# Churn\nmonthly", "empty": "", "ünï": "cødé ✓"})
    client.create_experiment("elsewhere", artifact_location="s3://bucket/a path/with%20escapes")
    client.create_experiment("名前 'quoted' \"twice\" %_\\")
    renamed = client.create_experiment("before")
    client.rename_experiment(renamed, "after")
    deleted = client.create_experiment("deleted", tags={"kept": "yes"})
    client.create_run(deleted, run_name="run of a deleted experiment")
    client.delete_experiment(deleted)
    restored = client.create_experiment("restored")
    client.delete_experiment(restored)
    client.restore_experiment(restored)


def runs():
    churn = client.get_experiment_by_name("churn").experiment_id
    full = client.create_run(churn, start_time=T0, run_name="full", tags={"mlflow.user": "ann", "mlflow.source.name": "train.py"}).info.run_id
    client.log_batch(
        full,
        metrics=[Metric("loss", 1 / (step + 1), T0 + step, step) for step in range(20)]
        + [Metric("odd", value, T0 + i, 0) for i, value in enumerate([math.nan, math.inf, -math.inf, 0.1 + 0.2, -0.0])]
        + [Metric("nan", math.nan, T0, 3), Metric("inf", math.inf, T0, -2), Metric("-inf", -math.inf, T0, 0)]
        + [Metric("tiny", 5e-324, T0, 0), Metric("huge", 1.7976931348623157e308, T0, 2**62), Metric("whole", 3.0, T0, 0)]
        + [Metric("same step", value, T0, 7) for value in (2.0, 3.0, 1.0)]
        + [Metric("früh / spät", 1.5, T0, 0)],
        params=[Param("alpha", "0.1"), Param("empty", ""), Param("long", "x" * 6000), Param("ünï", "cødé ✓ \n\t\"'")],
        tags=[RunTag("stage", "train"), RunTag("long", "y" * 8000), RunTag("mlflow.note.content", "a note"), RunTag("gone", "soon")],
    )
    client.delete_tag(full, "gone")
    client.log_inputs(
        full,
        datasets=[
            DatasetInput(
                Dataset("customers", "abc123", "local", '{"uri": "customers.csv"}', schema='{"mlflow_colspec": []}', profile='{"num_rows": 3}'),
                [InputTag("mlflow.data.context", "training"), InputTag("split", "0.8")],
            ),
            DatasetInput(Dataset("bare", "def456", "s3", "s3://bucket/bare"), []),
        ],
    )
    client.log_text(full, "hello", "texts/hello.txt")
    client.log_dict(full, {"a": [1, 2]}, "config.json")
    client.set_terminated(full, "FINISHED", T0 + 60_000)

    nested = client.create_run(churn, start_time=T0 + 1, run_name="nested", tags={"mlflow.parentRunId": full}).info.run_id
    client.log_metric(nested, "loss", 0.25, timestamp=T0, step=1)
    client.log_param(nested, "alpha", "0.2")
    client.set_terminated(nested, "FAILED", T0 + 2)
    killed = client.create_run(churn, start_time=T0 + 2, run_name="killed").info.run_id
    client.set_terminated(killed, "KILLED", T0 + 3)
    client.update_run(killed, name="killed and renamed")
    client.update_run(client.create_run(churn, start_time=T0 + 3, run_name="scheduled").info.run_id, status="SCHEDULED")
    client.create_run(churn, start_time=T0 + 4, run_name="still running")
    deleted = client.create_run(churn, start_time=T0 + 5, run_name="deleted").info.run_id
    client.log_metric(deleted, "loss", 0.5, timestamp=T0)
    client.delete_run(deleted)
    restored = client.create_run(churn, start_time=T0 + 6, run_name="restored").info.run_id
    client.delete_run(restored)
    client.restore_run(restored)
    client.create_run("0", start_time=T0 + 7)
    return full


def logged_models(run):
    churn = client.get_experiment_by_name("churn").experiment_id
    ready = client.create_logged_model(
        churn,
        name="classifier",
        source_run_id=run,
        tags={"framework": "sklearn", "gone": "soon"},
        params={"depth": "3", "long": "z" * 5000},
        model_type="agent",
    ).model_id
    client.log_model_params(ready, {"late": "1"})
    client.finalize_logged_model(ready, "READY")
    client.set_logged_model_tags(ready, {"reviewed": "yes"})
    client.delete_logged_model_tag(ready, "gone")
    client.log_outputs(run, [LoggedModelOutput(ready, step=5)])
    client.log_metric(run, "accuracy", 0.9, timestamp=T0, step=1, model_id=ready, dataset_name="customers", dataset_digest="abc123")
    client.log_metric(run, "accuracy", 0.95, timestamp=T0 + 1, step=2, model_id=ready)
    failed = client.create_logged_model(churn, name="failed").model_id
    client.finalize_logged_model(failed, "FAILED")
    client.create_logged_model("0", name="pending")
    deleted = client.create_logged_model(churn, name="deleted").model_id
    client.delete_logged_model(deleted)
    evaluation = client.create_run(churn, start_time=T0 + 8, run_name="evaluation").info.run_id
    client.log_inputs(evaluation, models=[LoggedModelInput(ready)])
    return ready


def registry(run, model):
    client.create_registered_model("churn", tags={"tier": "1", "empty": ""}, description="who leaves\nand when")
    uri = client.get_run(run).info.artifact_uri
    for number in range(1, 5):
        client.create_model_version(
            "churn", f"{uri}/model", run, tags={"number": str(number)}, description=f"version {number}", run_link="https://ci/1" if number == 2 else None
        )
    client.create_model_version("churn", f"models:/{model}", run, model_id=model)
    client.transition_model_version_stage("churn", "1", "Production")
    client.transition_model_version_stage("churn", "2", "Staging")
    client.transition_model_version_stage("churn", "3", "Production", archive_existing_versions=True)
    client.update_model_version("churn", "3", "served")
    client.set_registered_model_alias("churn", "champion", "2")
    client.set_registered_model_alias("churn", "champion", "3")
    client.set_registered_model_alias("churn", "challenger", "5")
    client.set_model_version_tag("churn", "3", "approved by", "bob ✓")
    client.set_model_version_tag("churn", "3", "gone", "soon")
    client.delete_model_version_tag("churn", "3", "gone")
    client.delete_model_version("churn", "4")
    client.create_registered_model("empty")
    client.create_registered_model("old name", tags={"a": "b"})
    client.create_model_version("old name", "s3://bucket/model")
    client.set_registered_model_alias("old name", "live", "1")
    client.rename_registered_model("old name", "new name ünï")
    client.create_registered_model("deleted")
    client.create_model_version("deleted", "s3://bucket/model")
    client.delete_registered_model("deleted")
    client.create_registered_model("all gone")
    client.create_model_version("all gone", "s3://bucket/model")
    client.delete_model_version("all gone", "1")


def prompts():
    client.register_prompt("greeting", "Hello {{name}}", commit_message="first", tags={"language": "en"})
    client.register_prompt("greeting", [{"role": "user", "content": "Hi {{name}}"}], commit_message="chat")
    client.set_prompt_alias("greeting", "production", 1)


def change():
    churn = client.get_experiment_by_name("churn").experiment_id
    client.set_experiment_tag(churn, "team", "retention")
    full = run_named(churn, "full")
    client.log_batch(
        full, metrics=[Metric("loss", 0.01, T0 + 100, 20), Metric("nan", 1.0, T0 + 100, 4)], params=[Param("late", "1")], tags=[RunTag("stage", "test")]
    )
    client.log_text(full, "hello again", "texts/again.txt")
    client.delete_run(run_named(churn, "still running"))
    client.restore_experiment(client.get_experiment_by_name("deleted").experiment_id)
    run = client.create_run(client.create_experiment("afterwards"), start_time=T0 + 1000, run_name="afterwards").info.run_id
    client.log_inputs(run, [DatasetInput(Dataset("customers", "abc123", "local", "{}"), [InputTag("a", "b")])])
    client.log_metric(run, "loss", math.nan, timestamp=T0)
    model = client.create_logged_model(churn, name="afterwards", source_run_id=run).model_id
    client.finalize_logged_model(model, "READY")
    client.log_outputs(run, [LoggedModelOutput(model, step=0)])
    version = client.create_model_version("churn", f"models:/{model}", run, model_id=model)
    assert version.version == "6", version
    client.transition_model_version_stage("churn", "6", "Production", archive_existing_versions=True)
    client.set_registered_model_alias("churn", "champion", "6")
    client.delete_registered_model_alias("churn", "challenger")
    client.set_registered_model_tag("churn", "tier", "2")
    client.rename_registered_model("empty", "filled")
    assert client.create_model_version("filled", "s3://bucket/model").version == "1"
    client.delete_registered_model("new name ünï")
    client.register_prompt("greeting", "Hey {{name}}")


def run_named(experiment, name):
    (run,) = client.search_runs([experiment], f"attributes.run_name = '{name}'")
    return run.info.run_id


if __name__ == "__main__":
    {"make": make, "change": change}[sys.argv[1]]()
