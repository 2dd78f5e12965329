"""Fills a server with runs, experiments and logged models, and deletes some of each. Prints the ids of what is deleted, as JSON."""

import json
import pathlib
import tempfile

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput

client = MlflowClient()
folder = pathlib.Path(tempfile.mkdtemp())
(folder / "weights.bin").write_bytes(b"w" * 1000)


def run(experiment):
    run = client.create_run(experiment)
    run_id = run.info.run_id
    client.log_metric(run_id, "auc", 0.5, step=1)
    client.log_metric(run_id, "auc", 0.7, step=2)
    client.log_param(run_id, "depth", 3)
    client.set_tag(run_id, "team", "growth")
    client.log_inputs(run_id, [DatasetInput(Dataset("d", "digest", "local", "s"), [InputTag("context", "train")])])
    client.log_artifact(run_id, str(folder / "weights.bin"), "model")
    model = client.create_logged_model(experiment, name="model", source_run_id=run_id, params={"p": "1"}, tags={"t": "1"})
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
    client.log_metric(run_id, "auc", 0.7, step=2, model_id=model.model_id)
    client.log_model_artifacts(model.model_id, str(folder))
    return run_id, model.model_id


used, unused = (client.create_experiment(name, tags={"owner": "ann"}) for name in ("used", "unused"))
kept, deleted, without_model, registered = (run(used) for _ in range(4))
run(unused)
run(unused)
client.delete_run(deleted[0])
client.delete_logged_model(without_model[1])
client.delete_experiment(unused)
client.create_registered_model("churn")
version = client.create_model_version("churn", client.get_run(registered[0]).info.artifact_uri + "/model", registered[0])
client.delete_run(registered[0])
print(json.dumps({"kept": kept, "deleted": deleted[0], "model": without_model[1], "experiment": unused, "registered": registered[0]}))
