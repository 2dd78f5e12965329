"""Fixtures of the differential tests."""

import pytest
import scenarios  # noqa: F401 - fills the catalogue
from catalogue import SCENARIOS
from conversation import Conversation, ScenarioError


class Dialogue:
    """Conversations with both servers on one database, given as Conversation takes them, and the scenarios held with them; each is held once, when first asked for."""

    def __init__(self, *conversation):
        self._conversation = conversation
        self._held = {}

    def hold(self, name):
        """The pairs of one scenario, and what cut it short ("" if nothing did)."""
        if name not in self._held:
            conversation, cut = Conversation(*self._conversation), ""
            try:
                SCENARIOS[name](conversation)
            except ScenarioError as error:
                cut = str(error)
            self._held[name] = conversation.pairs, cut
        return self._held[name]

    def hold_all(self):
        """The pairs of every scenario."""
        return [pair for name in SCENARIOS for pair in self.hold(name)[0]]


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
            made[database] = Dialogue(shared_servers("genuine", database).uri, ours.uri, database, ours_is_genuine)
        return made[database]

    return get


@pytest.fixture
def dialogue(dialogues, database):
    return dialogues(database)
