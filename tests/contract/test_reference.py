"""docs/reference is what tools/reference.py makes of the CRDs, and tells of every field."""

import re

import pytest

from tests.contract.test_crds import SIDES, schema, walk
from tools import reference


def test_the_pages_are_up_to_date() -> None:
    assert reference.stale_pages() == []


@pytest.mark.parametrize(("kind", "side"), SIDES)
def test_every_field_has_its_row(kind: str, side: str) -> None:
    page = (reference.REFERENCE / f"{kind.lower()}.md").read_text()
    rows = set(re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE))
    fields = {path.removeprefix(f"{kind}.{side}.") for path, _ in walk(schema(kind, side), f"{kind}.{side}")}
    assert {field for field in fields if not field.endswith(("[]", "{}", side))} <= rows
