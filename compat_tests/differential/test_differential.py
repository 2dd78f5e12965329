"""Every scenario of the catalogue: the same calls to Greenroom and to genuine MLflow 3.17.2, answers compared."""

import pytest
from catalogue import S3_SCENARIOS, SCENARIOS


@pytest.mark.parametrize("name", SCENARIOS)
def test_answers_agree(dialogue, name):
    check(*dialogue.hold(name))


@pytest.mark.parametrize("name", S3_SCENARIOS)
def test_answers_agree_on_s3(s3_dialogue, name):
    check(*s3_dialogue.hold(name))


def check(pairs, cut):
    bad = [str(pair) for pair in pairs if pair.mismatch]
    assert not bad and not cut, "\n\n".join([f"{len(bad)} of {len(pairs)} calls disagree {cut}", *bad])
