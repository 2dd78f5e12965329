"""What a client shows when the server refuses it: ``python messages.py FILE`` reads from standard input a JSON object
of situations, each ``[environment, call, arguments]``, and writes one into the file of what was raised in them:
``{"type", "code", "message"}``.

Runs on Python 3.8."""

import json
import os
import sys
import tempfile

from mlflow.tracking import MlflowClient


def log_artifact(run):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "note.txt")
        with open(path, "w") as out:
            out.write("a note")
        MlflowClient().log_artifact(run, path)


def call(name, arguments):
    if name == "log_artifact":
        log_artifact(*arguments)
    else:
        getattr(MlflowClient(), name)(*arguments)


def main(file):
    answers = {}
    for situation, (environment, name, arguments) in json.load(sys.stdin).items():
        for variable in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
            os.environ.pop(variable, None)
        os.environ.update(environment)
        try:
            call(name, arguments)
            answers[situation] = None
        except Exception as error:
            answers[situation] = {
                "type": type(error).__name__,
                "code": getattr(error, "error_code", None),
                "message": str(error),
            }
    with open(file, "w") as out:
        json.dump(answers, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
