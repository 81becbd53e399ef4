"""What the documentation points at exists: links, files named in the architecture's map, make targets, commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
MODULE = re.compile(r"`([a-z_]+/(?:[a-z_]+/)*[a-z_0-9]+\.(?:py|yaml))`")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text()) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_architecture_names_files_that_exist() -> None:
    named = MODULE.findall((ROOT / "docs" / "architecture.md").read_text())
    assert len(named) > 20
    missing = [path for path in named if not any((base / path).exists() for base in (ROOT, ROOT / "operator" / "recoup"))]
    assert missing == []


def test_the_make_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"`make ([a-z-]+)`", page.read_text()))
        assert named <= targets, f"{name_of(page)} names {named - targets}"
