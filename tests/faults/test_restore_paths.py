"""A RestoreRequest for a part of a volume: what the mover is told, and that nothing it says is of the whole volume."""

from __future__ import annotations

import json
from typing import Any

from msgspec import structs

from recoup.controller.resources import JOB
from tests.faults.driver import backed_up, condition, content_of, incident, restore_status, start
from tests.faults.test_restore_faults import restorers_end
from tests.faults.world import Object, World

PATHS = {"include": ["orders/$(HOME)$$.csv", "etc"], "exclude": ["*.tmp"], "into": "found"}


def of_a_part(paths: Object, **target: Any) -> World:
    world = backed_up("data-0")
    incident(world, volumes=[{"source": "data-0", "target": {"name": "data-0-restored"} | target}], paths=paths)
    return world


def key(world: World) -> Any:
    from tests.faults.driver import RESTORE_KEY

    assert world.points
    return RESTORE_KEY


def test_the_mover_is_told_the_selection_and_the_status_says_that_it_is_one() -> None:
    world = of_a_part(PATHS, size="10Mi")
    controller = start(world)
    controller.run(key(world), until=lambda: bool(world.all(JOB)))
    arguments = world.all(JOB)[0]["spec"]["template"]["spec"]["containers"][0]["args"]
    begin = arguments.index("--include")
    literal = "orders/$$(HOME)$$$$.csv"  # as it is to be written so that the kubelet passes it on as it was meant
    assert arguments[begin : begin + 8] == ["--include", literal, "--include", "etc", "--exclude", "*.tmp", "--into", "found"]
    assert "bytesTotal" not in restore_status(world)["volumes"][0], "not known before the mover has looked"
    controller.run(key(world))
    status = restore_status(world)
    restored = condition(status, "Restored")
    assert restored["status"] == "True"
    assert "a selection, not the whole volumes: only orders/$(HOME)$$.csv etc, without *.tmp, into found" in restored["message"]
    [volume] = status["volumes"]
    assert (volume["bytesTotal"], volume["bytesDone"], volume["filesRestored"]) == (7, 7, 3), "the mover's own figures"
    assert content_of(world, "data-0-restored") == "content of data-0"


def test_a_pattern_that_matches_nothing_ends_it_with_the_movers_word() -> None:
    world = of_a_part({"include": ["ordres"]})
    message = "nothing that is to be restored of recovery point 6f1c matches the include pattern 'ordres'"
    world.mover = restorers_end({"exitCode": 20, "message": json.dumps({"reason": "PatternMatchesNothing", "message": message})})
    start(world).run(key(world))
    ready = condition(restore_status(world), "Ready")
    assert (ready["reason"], message in ready["message"]) == ("PatternMatchesNothing", True)
    assert restore_status(world)["volumes"][0]["attempts"] == 1, "the same again would be the same"
    assert len(world.disks) == 1


def test_only_a_part_may_be_smaller() -> None:
    world = of_a_part({"into": "found"}, size="10Mi")
    start(world).run(key(world))
    assert condition(restore_status(world), "Ready")["reason"] == "TargetTooSmall"


def test_a_block_device_has_no_parts() -> None:
    world = of_a_part({"into": "found"})
    world.points = [structs.replace(point, source=structs.replace(point.source, volume_mode="Block")) for point in world.points]
    start(world).run(key(world))
    ready = condition(restore_status(world), "Ready")
    assert ready["reason"] == "PathsOfBlockVolume"
    assert "volume data-0 is a block device" in ready["message"]
    assert world.all(JOB) == []
