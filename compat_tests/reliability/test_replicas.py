"""Many clients at once: on two servers that share one PostgreSQL database, and on one server with a SQLite file.

The calls are plain ones, so that threads collide as hard as they can. A 5xx fails any of them."""

import threading

import pytest
from calls import Caller, together

SERVERS = {"sqlite": 1, "postgresql": 2}
THREADS = 8
READERS = 2
MOVES = 25


@pytest.fixture(scope="module")
def replicas(start_session_server, new_backend, database):
    """Servers on one database; ``replicas(i)`` is a caller of one of them, in turns."""
    backend = new_backend(database)
    servers = [start_session_server("ours", backend) for _ in range(SERVERS[database])]
    return lambda i: Caller(servers[i % len(servers)].uri)


@pytest.fixture
def model(replicas, unique):
    """A model with versions 1 to THREADS, of which 1 is in Production and has the alias champion."""
    call = replicas(0)
    call.must("POST", "registered-models/create", name=unique)
    for number in range(THREADS):
        call.must("POST", "model-versions/create", name=unique, source=f"s3://bucket/{number}")
    promote(call, unique, 1)
    call.must("POST", "registered-models/alias", name=unique, alias="champion", version="1")
    return unique


def test_version_numbers_are_handed_out_once(replicas, unique):
    replicas(0).must("POST", "registered-models/create", name=unique)

    def create(i):
        call = replicas(i)
        sources = [f"s3://bucket/{i}/{n}" for n in range(MOVES)]
        answers = [call.must("POST", "model-versions/create", name=unique, source=source) for source in sources]
        return [int(made["model_version"]["version"]) for made in answers]

    made = together(*(lambda i=i: create(i) for i in range(THREADS)))
    for numbers in made:
        assert numbers == sorted(numbers)
    assert sorted(sum(made, [])) == list(range(1, THREADS * MOVES + 1))
    stored = {int(one["version"]): one["source"] for one in replicas(1).versions(unique)}
    assert stored == {v: f"s3://bucket/{i}/{n}" for i, numbers in enumerate(made) for n, v in enumerate(numbers)}


def test_a_creation_repeated_at_once_makes_one_version(replicas, unique):
    callers = [replicas(i) for i in range(THREADS)]
    callers[0].must("POST", "registered-models/create", name=unique)
    for number in range(1, MOVES + 1):
        source = f"s3://bucket/{number}"
        made = together(
            *(lambda c=c: c.must("POST", "model-versions/create", name=unique, source=source) for c in callers)
        )
        assert {int(one["model_version"]["version"]) for one in made} == {number}
    assert len(callers[0].versions(unique)) == MOVES


def test_one_version_is_in_production_at_every_moment(replicas, model):
    def move(call, number):
        promote(call, model, number)

    def search(call):
        (one,) = (v["version"] for v in call.versions(model) if v["current_stage"] == "Production")
        return one

    def latest(call):
        answer = call.must("POST", "registered-models/get-latest-versions", name=model, stages=["Production"])
        (one,) = answer["model_versions"]
        return one["version"]

    def of_model(call):
        versions = call.must("GET", "registered-models/get", name=model)["registered_model"]["latest_versions"]
        (one,) = (v["version"] for v in versions if v["current_stage"] == "Production")
        return one

    for seen in move_and_read(replicas, move, (search, latest, of_model)):
        assert len(seen) > 1, "the reader saw nothing move"


def test_an_alias_resolves_at_every_moment(replicas, model):
    def move(call, number):
        call.must("POST", "registered-models/alias", name=model, alias="champion", version=str(number))

    def resolve(call):
        answer = call.must("GET", "registered-models/alias", name=model, alias="champion")
        assert "champion" in answer["model_version"]["aliases"]
        return answer["model_version"]["version"]

    def of_model(call):
        (one,) = call.must("GET", "registered-models/get", name=model)["registered_model"]["aliases"]
        return one["version"]

    for seen in move_and_read(replicas, move, (resolve, of_model)):
        assert len(seen) > 1, "the reader saw nothing move"


def test_a_name_is_given_once(replicas, unique):
    callers = [replicas(i) for i in range(THREADS)]
    for number in range(MOVES):
        name = f"{unique}-{number}"
        for path in ("experiments/create", "registered-models/create"):
            answers = together(*(lambda c=c: c("POST", path, name=name) for c in callers))
            won = [answer for status, answer in answers if status == 200]
            refused = [answer["error_code"] for status, answer in answers if status == 400]
            assert (len(won), refused) == (1, ["RESOURCE_ALREADY_EXISTS"] * (THREADS - 1)), (path, answers)
            if path == "experiments/create":
                for call in callers:
                    stored = call.must("GET", "experiments/get-by-name", experiment_name=name)["experiment"]
                    assert stored["experiment_id"] == won[0]["experiment_id"]


def promote(call, model, number):
    call.must(
        "POST",
        "model-versions/transition-stage",
        name=model,
        version=str(number),
        stage="Production",
        archive_existing_versions=True,
    )


def move_and_read(replicas, move, reads):
    """Moves something between versions in THREADS / 2 threads while each of reads asks in READERS threads.

    Each mover makes MOVES moves, and goes on until every reader has seen two versions, within reason. Returns the set
    of what each reader saw."""
    movers, readers = THREADS // 2, READERS * len(reads)
    ended = [threading.Event() for _ in range(movers)]
    served = [threading.Event() for _ in range(readers)]

    def mover(i):
        call = replicas(i)
        try:
            for n in range(100 * MOVES):
                if n >= MOVES and all(one.is_set() for one in served):
                    break
                move(call, (i + n) % THREADS + 1)
        finally:
            ended[i].set()

    def reader(i):
        call, read, seen = replicas(i // len(reads)), reads[i % len(reads)], set()
        try:
            while not all(one.is_set() for one in ended):
                seen.add(read(call))
                if len(seen) > 1:
                    served[i].set()
        finally:
            served[i].set()
        return seen

    return together(
        *(lambda i=i: mover(i) for i in range(movers)), *(lambda i=i: reader(i) for i in range(readers))
    )[movers:]
