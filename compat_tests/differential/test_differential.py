"""Every scenario of the catalogue: the same calls to Greenroom and to genuine MLflow 3.17.2, answers compared."""

import pytest
from catalogue import SCENARIOS


@pytest.mark.parametrize("name", SCENARIOS)
def test_answers_agree(dialogue, name):
    pairs, cut = dialogue.hold(name)
    bad = [str(pair) for pair in pairs if pair.mismatch]
    assert not bad and not cut, "\n\n".join([f"{len(bad)} of {len(pairs)} calls disagree {cut}", *bad])
