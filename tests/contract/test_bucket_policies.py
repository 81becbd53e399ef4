"""The page on bucket policies is what its source makes, and its documents are the policies that the tests run under."""

from __future__ import annotations

import json
import re

from tools import bucket_policies
from tools.bucket_policies import MOVERS, PAGE, ROLES, policy


def test_the_page_is_as_generated() -> None:
    assert PAGE.read_text() == bucket_policies.render(), "run: python -m tools.bucket_policies"


def test_the_pages_documents_are_the_policies() -> None:
    blocks = dict(re.findall(r"\(`([a-z-]+)`\)\n```json\n(.*?)\n```", PAGE.read_text(), re.DOTALL))
    assert set(blocks) == {*ROLES, "movers", "movers-write-only"}
    for role in ROLES:
        assert json.loads(blocks[role]) == policy(role, "BUCKET", "PREFIX")
    assert json.loads(blocks["movers"]) == policy(MOVERS, "BUCKET", "PREFIX")


def test_a_mover_that_never_restores_reads_no_data() -> None:
    text = re.findall(r"\(`movers-write-only`\)\n```json\n(.*?)\n```", PAGE.read_text(), re.DOTALL)[0]
    read = next(statement for statement in json.loads(text)["Statement"] if statement["Action"] == "s3:GetObject")
    assert not [resource for resource in read["Resource"] if "/d/" in resource or "/m/" in resource]


def test_every_put_must_be_conditional_and_nothing_is_deleted_but_probes() -> None:
    for role in [*ROLES, MOVERS]:
        for statement in policy(role, "b", "")["Statement"]:
            if statement["Action"] == "s3:PutObject":
                assert statement["Condition"] == {"Null": {"s3:if-none-match": "false"}}
            if statement["Action"] == "s3:DeleteObject":
                assert statement["Resource"] == ["arn:aws:s3:::b/probe/*"]
            assert statement["Action"] in ("s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject")
