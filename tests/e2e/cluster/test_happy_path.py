"""The main job: a policy, a recovery point, a RestoreRequest, compared by tools that are not ours; and who may restore what."""

from __future__ import annotations

from pathlib import Path

import pytest

from recoup.controller.resources import JOB, PVC, RESTORE, SNAPSHOT
from tests import datasets
from tests.cluster.audit import Audit
from tests.e2e.cluster.product import CONTROLLER, Product
from tests.e2e.cluster.together import Scenario, Together, assert_honest, name_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

MAKE_TREE = Path(datasets.__file__).with_name("tree_of_every_kind.py").read_text()
COMPARE = """
rsync -naAXHc --delete --itemize-changes --exclude /lost+found /a/ /b/
for tree in /a /b; do
  cd $tree
  find . -mindepth 1 ! -type l -print0 | LC_ALL=C sort -z | xargs -0 getfacl -Pn > /tmp/attributes-$(basename $tree)
  getcap -r . | LC_ALL=C sort >> /tmp/attributes-$(basename $tree)
  find . -mindepth 1 -printf '%p %y %m %U %G %s %T@ %n %l\\n' | LC_ALL=C sort > /tmp/found-$(basename $tree)
done
grep -q user:1234:rwx /tmp/attributes-a
grep -q cap_net_raw /tmp/attributes-a
diff -a /tmp/attributes-a /tmp/attributes-b
diff -a /tmp/found-a /tmp/found-b
wc -l < /tmp/found-b
"""


def a_tree_of_every_kind(product: Product) -> None:
    """It comes back under another name in the same namespace."""
    with product.team("tree") as team:
        team.claim("data", size="2Gi")
        team.policy()
        team.run("write", f"python3 - /data --files 1500 --sparse-gib 1 <<'END'\n{MAKE_TREE}\nEND\nsync", data="/data")
        team.snapshot("now")
        taken = team.wait_ready(SNAPSHOT, "now")
        assert taken["status"]["summary"]["volumes"] == "1/1"
        team.restore("back", {"snapshotRef": {"name": "now"}}, data="copy")
        restored = team.wait_ready(RESTORE, "back")
        assert restored["status"]["summary"]["progress"] == "100 %"
        compared = team.run("compare", COMPARE, data="/a", copy="/b")
        assert compared.strip().isdigit(), f"they differ:\n{compared}"
        assert int(compared) > 1300
        copy, data = team.get(PVC, "copy"), team.get(PVC, "data")
        for field in ("accessModes", "storageClassName", "volumeMode", "resources"):
            assert copy["spec"][field] == data["spec"][field]
        assert copy["metadata"]["labels"]["app"] == "shop"
        assert_honest(team, product.place)


def a_block_volume(product: Product) -> None:
    with product.team("block") as team:
        team.claim("disk", mode="Block", size="256Mi")
        team.policy()
        team.run("write", "head -c 50M /dev/urandom | dd of=/dev/disk bs=1M seek=100 conv=fsync status=none", disk="/dev/disk")
        team.snapshot("now")
        team.wait_ready(SNAPSHOT, "now")
        team.restore("back", {"snapshotRef": {"name": "now"}}, disk="copy")
        team.wait_ready(RESTORE, "back")
        assert team.run("compare", "cmp /dev/a /dev/b && echo same", disk="/dev/a", copy="/dev/b") == "same\n"
        assert_honest(team, product.place)


def a_volume_without_snapshots_beside_one_with(product: Product) -> None:
    """The one is said to be unprotected, and what to do; the other is protected all the same."""
    with product.team("mixed") as team:
        team.claim("data", storage_class="recoup-immediate")
        team.claim("old", storage_class="recoup-nosnap")
        team.policy()
        team.run("write", "echo kept > /data/file; echo lost > /old/file", data="/data", old="/old")
        team.snapshot("now")
        team.wait_over(SNAPSHOT, "now")
        ready = team.wait_reason(SNAPSHOT, "now", "VolumeNotCaptured")
        assert "1 of 2 volumes are stored" in ready["message"]
        assert f"PVC {team.name}/old" in ready["message"]
        assert team.volume("now", "data")["state"] == "Stored"
        old = team.volume("now", "old")
        assert (old["state"], old["reason"]) == ("Failed", "NoVolumeSnapshotClass")
        assert "spec.selector.exclude" in old["message"]
        team.restore("back", {"snapshotRef": {"name": "now"}}, data="copy")
        team.wait_ready(RESTORE, "back")
        assert team.run("read", "cat /copy/file", copy="/copy") == "kept\n"
        assert_honest(team, product.place)


def another_namespaces_data(product: Product) -> None:
    """Nothing is read until the location grants it; then the same request goes on by itself."""
    audit = Audit(product.node)
    with product.make_place("granting") as place, product.team("lender") as lender, product.team("borrower") as borrower:
        place.wait_ready()
        lender.claim("data")
        lender.policy(location="granting")
        lender.run("write", "echo secret > /data/file", data="/data")
        lender.snapshot("now")
        lender.wait_ready(SNAPSHOT, "now")
        source = {"location": "granting", "namespace": {"name": "lender"}, "policy": "policy"}
        borrower.restore("prying", source)
        refused = borrower.wait_reason(RESTORE, "prying", "NotGranted")
        line = f"{{from: {{namespace: lender}}, to: {{namespace: borrower, uid: {borrower.uid}}}}}"
        assert line in refused["message"]
        assert "spec.grants" in refused["message"]
        assert not movers_named(audit, "prying")
        assert not borrower.children()
        place.grant("lender", "borrower")
        borrower.wait_ready(RESTORE, "prying")
        assert movers_named(audit, "prying"), "the control: a mover is seen in the audit log"
        assert borrower.run("read", "cat /data/file", data="/data") == "secret\n"
        borrower.wait_clean()


def a_namespace_made_anew(product: Product) -> None:
    """It does not inherit what an earlier one of its name had stored."""
    with product.team("reborn") as before:
        before.claim("data")
        before.policy()
        before.run("write", "echo of the first > /data/file", data="/data")
        before.snapshot("now")
        before.wait_ready(SNAPSHOT, "now")
        before.end(wait=True)
    audit = Audit(product.node)
    with product.team("reborn") as after:
        after.restore("inheriting", {"location": "main", "namespace": {"name": "reborn"}, "policy": "policy"})
        refused = after.wait_reason(RESTORE, "inheriting", "NotGranted")
        assert after.uid in refused["message"]
        assert not movers_named(audit, "inheriting")
        assert not after.claims()
        assert len(product.place.points("reborn")) == 1, "the first one's point is still there for who is granted it"


def movers_named(audit: Audit, owner: str) -> bool:
    """Whether the controller asked for a Job or claim of this owner's in the movers' namespace."""
    return any(
        request.user == CONTROLLER and request.verb == "create" and request.resource in (JOB.plural, PVC.plural) and owner in request.name
        for request in audit.requests()
    )


SCENARIOS: list[Scenario] = [
    a_tree_of_every_kind,
    a_block_volume,
    a_volume_without_snapshots_beside_one_with,
    another_namespaces_data,
    a_namespace_made_anew,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=name_of)
def test_happy_path(scenario: Scenario, together: Together) -> None:
    together.finish(scenario)
