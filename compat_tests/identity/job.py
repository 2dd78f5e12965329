"""A training job that logs a metric again and again on the credential in its environment, as it is at each call.

``python job.py RUN FOLDER``: writes "step N" for each, and as its last line what ended it, as JSON. A file ``token`` in the
folder takes the place of MLFLOW_TRACKING_TOKEN; a file ``stop`` ends the job. Retries as clients do by default."""

import json
import os
import pathlib
import sys

from mlflow.tracking import MlflowClient


def main(run, folder):
    client, folder, step = MlflowClient(), pathlib.Path(folder), 0
    while not (folder / "stop").exists():
        if (folder / "token").exists():
            os.environ["MLFLOW_TRACKING_TOKEN"] = (folder / "token").read_text()
        try:
            client.log_metric(run, "loss", 1.0 / (step + 1), step=step)
        except Exception as error:
            code = getattr(error, "error_code", None)
            print(json.dumps({"type": type(error).__name__, "code": code, "message": str(error)}), flush=True)
            return
        print("step", step, flush=True)
        step += 1
    print(json.dumps({"type": None}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
