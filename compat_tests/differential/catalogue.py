"""The list of scenarios: each is a function that holds one conversation with both servers."""

SCENARIOS = {}  # on servers that keep artifacts in a folder
S3_SCENARIOS = {}  # on servers that keep them in S3, served and as the default root


def scenario(function):
    """Registers a scenario under its function's name.

    Scenarios share the servers, so each uses names of experiments and models that begin with a word of its own."""
    return _register(SCENARIOS, function)


def on_s3(function):
    """Registers a scenario for servers whose artifacts are in S3."""
    return _register(S3_SCENARIOS, function)


def _register(scenarios, function):
    if function.__name__ in scenarios:
        raise ValueError(f"two scenarios are called {function.__name__}")
    scenarios[function.__name__] = function
    return function


def experiment(c, name, keep="exp", **fields):
    """Creates an experiment and keeps its id."""
    return c.post("experiments/create", {"name": name, **fields}, keep={keep: "experiment_id"})


def run(c, keep="run", exp="<exp>", **fields):
    """Creates a run, started at a fixed time unless told otherwise, and keeps its id."""
    fields = {"experiment_id": exp, "start_time": 1700000000000, "run_name": keep, **fields}
    return c.post("runs/create", fields, keep={keep: "run.info.run_id"})


def model(c, name, **fields):
    """Creates a registered model."""
    return c.post("registered-models/create", {"name": name, **fields})


def version(c, name, source="s3://bucket/model", **fields):
    """Creates a version of a registered model, from a source that needs no run."""
    return c.post("model-versions/create", {"name": name, "source": source, **fields})


def logged_model(c, keep="lm", exp="<exp>", **fields):
    """Creates a logged model and keeps its id."""
    fields = {"experiment_id": exp, "name": keep, **fields}
    return c.post("logged-models", fields, keep={keep: "model.info.model_id"})


def tags(**pairs):
    """{"a": "1"} as MLflow's list of key and value; an underscore pair in a name stands for a dot."""
    return [{"key": k.replace("__", "."), "value": v} for k, v in pairs.items()]
