"""The main job: a policy, a recovery point, a RestoreRequest, compared by tools that are not ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from recoup.controller.resources import PVC, RESTORE, SNAPSHOT
from tests import datasets
from tests.e2e.cluster.product import Product
from tests.e2e.cluster.world import Team

pytestmark = pytest.mark.cluster

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


def test_a_tree_of_every_kind_comes_back_under_another_name(team: Team, product: Product) -> None:
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
    team.wait_clean()
    (point,) = product.place.points(team.name)
    assert point["id"] == team.volume("now", "data")["manifest"]


def test_a_block_volume_comes_back(team: Team) -> None:
    team.claim("disk", mode="Block", size="256Mi")
    team.policy()
    team.run("write", "head -c 50M /dev/urandom | dd of=/dev/disk bs=1M seek=100 conv=fsync status=none", disk="/dev/disk")
    team.snapshot("now")
    team.wait_ready(SNAPSHOT, "now")
    team.restore("back", {"snapshotRef": {"name": "now"}}, disk="copy")
    team.wait_ready(RESTORE, "back")
    assert team.run("compare", "cmp /dev/a /dev/b && echo same", disk="/dev/a", copy="/dev/b") == "same\n"
    team.wait_clean()
