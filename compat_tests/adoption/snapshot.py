"""Reads all that a server keeps through its REST API, so that two servers on one database can be compared.

``read(server)`` gives the answer to each call. Lists without an order of their own are sorted, page tokens followed and left out."""

import json

import requests

ALL = "ALL"
# The tag that Greenroom adds to a model version some time after it was made.
DIGEST_TAG = "greenroom.digest"
PAGE = 4  # small, so that searches turn pages


def read(server):
    reader = Reader(server)
    reader.experiments()
    reader.logged_models()
    reader.registry()
    return reader.answers


class Reader:
    def __init__(self, server):
        self._base = server.uri + "/api/2.0/mlflow/"
        self._session = requests.Session()
        self.answers = {}

    def get(self, path, /, **query):
        return self._keep("GET", path, query, self._session.get(self._base + path, params=query, timeout=300))

    def post(self, path, /, **body):
        return self._keep("POST", path, body, self._session.post(self._base + path, json=body, timeout=300))

    def _keep(self, method, path, arguments, response):
        answer = response.json()
        self.answers[f"{method} {path} {json.dumps(arguments, sort_keys=True)}"] = response.status_code, _sorted(answer)
        return answer

    def search(self, path, what, **body):
        """All rows, page after page."""
        found, pages, token = [], 0, None
        while token or not pages:
            pages += 1
            body_of_page = {**body, "max_results": PAGE, **({"page_token": token} if token else {})}
            if path.startswith(("registered-models", "model-versions")):
                response = self._session.get(self._base + path, params=body_of_page, timeout=300)
            else:
                response = self._session.post(self._base + path, json=body_of_page, timeout=300)
            answer = response.json()
            assert response.status_code == 200, (path, body, answer)
            found += answer.get(what, [])
            token = answer.get("next_page_token")
        self.answers[f"{path} {json.dumps(body, sort_keys=True)}"] = pages, _sorted(found, keep_order=True)
        return found

    def experiments(self):
        for view in ("ACTIVE_ONLY", "DELETED_ONLY"):
            self.search("experiments/search", "experiments", view_type=view)
        self.search("experiments/search", "experiments", view_type=ALL, order_by=["name DESC"])
        self.search("experiments/search", "experiments", view_type=ALL, filter="tags.team LIKE 'r%'")
        experiments = self.search("experiments/search", "experiments", view_type=ALL)
        for experiment in experiments:
            self.get("experiments/get", experiment_id=experiment["experiment_id"])
            self.get("experiments/get-by-name", experiment_name=experiment["name"])
        self.ids = [experiment["experiment_id"] for experiment in experiments]
        for run in self.runs():
            self.run(run["info"]["run_id"])

    def runs(self):
        def search(**body):
            return self.search("runs/search", "runs", experiment_ids=self.ids, **body)

        search(run_view_type="ACTIVE_ONLY", order_by=["metrics.loss DESC", "params.alpha", "attributes.start_time"])
        search(run_view_type=ALL, order_by=["metrics.nan", "tags.stage DESC", "attributes.start_time DESC"])
        search(run_view_type="DELETED_ONLY", order_by=["attributes.run_name"])
        search(filter="metrics.loss < 0.3 and params.alpha LIKE '0.%'", order_by=["attributes.start_time"])
        search(filter="dataset.name = 'customers' and attributes.status = 'FINISHED'")
        return search(run_view_type=ALL)

    def run(self, run_id):
        run = self.get("runs/get", run_id=run_id)["run"]
        for metric in run["data"].get("metrics", []):
            self.get("metrics/get-history", run_id=run_id, metric_key=metric["key"])
        for path in ("", "texts"):
            self.get("artifacts/list", run_id=run_id, path=path)

    def logged_models(self):
        models = self.search("logged-models/search", "models", experiment_ids=self.ids)
        self.search("logged-models/search", "models", experiment_ids=self.ids, filter="params.depth = '3' AND metrics.accuracy > 0.9")
        self.search("logged-models/search", "models", experiment_ids=self.ids, order_by=[{"field_name": "name", "ascending": True}])
        for model in models:
            self.get("logged-models/" + model["info"]["model_id"])

    def registry(self):
        models = self.search("registered-models/search", "registered_models")
        self.search("registered-models/search", "registered_models", filter="tags.`mlflow.prompt.is_prompt` = 'true'")
        self.search("registered-models/search", "registered_models", filter="name ILIKE '%E%'", order_by="last_updated_timestamp DESC")
        self.search("model-versions/search", "model_versions", order_by="name ASC")
        self.search("model-versions/search", "model_versions", filter="name = 'churn'", order_by="version_number DESC")
        self.search("model-versions/search", "model_versions", filter="tags.number = '2'")
        for name in [*(model["name"] for model in models), "deleted"]:
            model = self.get("registered-models/get", name=name).get("registered_model", {})
            self.get("registered-models/get-latest-versions", name=name)
            self.post("registered-models/get-latest-versions", name=name, stages=["Production", "Archived"])
            for alias in [*(alias["alias"] for alias in model.get("aliases", [])), "nobody"]:
                self.get("registered-models/alias", name=name, alias=alias)
            for version in map(str, range(1, 8)):
                self.get("model-versions/get", name=name, version=version)
                self.get("model-versions/get-download-uri", name=name, version=version)


def _sorted(value, keep_order=False):
    """Sorts every list inside; the outermost only if it need not keep its order, as a search's rows do."""
    if isinstance(value, dict):
        kept = {key: _sorted(inner) for key, inner in value.items() if key != "next_page_token"}
        return {key: inner for key, inner in kept.items() if key != "tags" or inner}
    if isinstance(value, list):
        items = [_sorted(item) for item in value if not (isinstance(item, dict) and item.get("key") == DIGEST_TAG)]
        return items if keep_order else sorted(items, key=lambda item: json.dumps(item, sort_keys=True))
    return value
