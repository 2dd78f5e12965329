"""Fixtures of the differential tests."""

import pytest
import scenarios  # noqa: F401 - fills the catalogue
from catalogue import S3_SCENARIOS, SCENARIOS
from conversation import Conversation, ScenarioError


class Dialogue:
    """Conversations with both servers, given as Conversation takes them, and the scenarios held with them; each is held once, when first asked for."""

    def __init__(self, scenarios, *conversation, **more):
        self._scenarios, self._conversation, self._more = scenarios, conversation, more
        self._held = {}

    def hold(self, name):
        """The pairs of one scenario, and what cut it short ("" if nothing did)."""
        if name not in self._held:
            conversation, cut = Conversation(*self._conversation, **self._more), ""
            try:
                self._scenarios[name](conversation)
            except ScenarioError as error:
                cut = str(error)
            self._held[name] = conversation.pairs, cut
        return self._held[name]

    def hold_all(self):
        """The pairs of every scenario."""
        return [pair for name in self._scenarios for pair in self.hold(name)[0]]


@pytest.fixture(scope="session")
def dialogues(shared_servers, start_session_server, new_backend, server_kind):
    """``dialogues(database)``; with --server=genuine, a second genuine server stands in for ours, which proves the masks."""
    made = {}

    def get(database):
        if database not in made:
            ours_is_genuine = server_kind == "genuine"
            if ours_is_genuine:
                ours = start_session_server("genuine", new_backend(database, "genuine"))
            else:
                ours = shared_servers("ours", database)
            made[database] = Dialogue(SCENARIOS, shared_servers("genuine", database).uri, ours.uri, database, ours_is_genuine)
        return made[database]

    return get


@pytest.fixture
def dialogue(dialogues, database):
    return dialogues(database)


@pytest.fixture(scope="session")
def s3_dialogue(start_session_server, new_backend, server_kind, s3):
    """Both servers with their artifacts in S3, each in a bucket of its own: what they serve below /served, and the default root /direct."""

    def start(kind):
        bucket = s3.create_bucket()
        server = start_session_server(
            kind,
            new_backend("sqlite", kind),
            destination=f"s3://{bucket}/served",
            arguments=["--default-artifact-root", f"s3://{bucket}/direct"],
            environment=s3.environment,
        )
        return server.uri, bucket

    (genuine, genuine_bucket), (ours, ours_bucket) = start("genuine"), start(server_kind)
    kept = ({"bucket": genuine_bucket}, {"bucket": ours_bucket})
    return Dialogue(S3_SCENARIOS, genuine, ours, "sqlite", server_kind == "genuine", kept=kept)
