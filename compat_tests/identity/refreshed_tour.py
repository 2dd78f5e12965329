"""The tour of ../client with a token that is fetched before each step, as a job does that holds a JWT of minutes.

``python refreshed_tour.py PREFIX URL`` writes what tour.py writes. Runs on Python 3.8."""

import os
import pathlib
import sys
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "client"))

import tour


def main(prefix, url):
    plain = tour.run_step

    def run_step(t, one):
        with urllib.request.urlopen(url, timeout=300) as answer:
            os.environ["MLFLOW_TRACKING_TOKEN"] = answer.read().decode()
        return plain(t, one)

    tour.run_step = run_step
    tour.main(prefix)


if __name__ == "__main__":
    main(*sys.argv[1:])
