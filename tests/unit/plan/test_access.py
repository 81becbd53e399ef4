"""Who reads whose recovery points: by name and uid, by grant, and never by inheriting a name."""

import pytest

from recoup.api.backuplocation import BackupLocation, Vault
from recoup.api.objects import decode
from recoup.api.restorerequest import SourceNamespace
from recoup.plan.access import Namespace, Refusal, check_namespace, resolve_source
from tests.unit.plan.examples import Object, location

OLD, NEW, OTHER = "shop-uid-1", "shop-uid-2", "blog-uid"
VAULT = {OLD: "a" * 32, NEW: "b" * 32, OTHER: "c" * 32}
TO_RECOVERED: Object = {"from": {"namespace": "shop"}, "to": {"namespace": "recovered"}}


def place(*uids: str, grants: list[Object] | None = None) -> BackupLocation:
    vaults = [
        {"id": VAULT[uid], "namespace": "blog" if uid == OTHER else "shop", "namespaceUid": uid, "fingerprint": f"recoupvault1{uid}"}
        for uid in uids
    ]
    return decode(BackupLocation, location(spec={"grants": grants or []}, status={"vaults": vaults}))


def asked(where: BackupLocation, reader: str, reader_uid: str, name: str = "shop", uid: str | None = None) -> str:
    answer = resolve_source(where, SourceNamespace(name=name, uid=uid), Namespace(reader, reader_uid))
    return answer.id if isinstance(answer, Vault) else answer.reason


CASES: list[tuple[str, BackupLocation, tuple[str, str], str | None, str]] = [
    ("its own", place(OLD), ("shop", OLD), None, VAULT[OLD]),
    ("a namespace re-created under the name inherits nothing", place(OLD), ("shop", NEW), None, "NotGranted"),
    ("nor by naming the uid", place(OLD), ("shop", NEW), OLD, "NotGranted"),
    ("its own, whatever else had the name", place(OLD, NEW), ("shop", NEW), None, VAULT[NEW]),
    ("another's", place(OLD), ("recovered", "r"), None, "NotGranted"),
    ("by grant", place(OLD, grants=[TO_RECOVERED]), ("recovered", "r"), None, VAULT[OLD]),
    ("by grant, with the uid", place(OLD, grants=[TO_RECOVERED]), ("recovered", "r"), OLD, VAULT[OLD]),
    ("a grant to another", place(OLD, grants=[TO_RECOVERED]), ("elsewhere", "e"), None, "NotGranted"),
    (
        "a grant by name is not for two namespaces of the name",
        place(OLD, NEW, grants=[TO_RECOVERED]),
        ("recovered", "r"),
        None,
        "AmbiguousNamespace",
    ),
    ("not even if the request names one", place(OLD, NEW, grants=[TO_RECOVERED]), ("recovered", "r"), NEW, "NotGranted"),
    (
        "a grant by uid",
        place(OLD, NEW, grants=[{"from": {"namespace": "shop", "uid": OLD}, "to": {"namespace": "recovered"}}]),
        ("recovered", "r"),
        None,
        VAULT[OLD],
    ),
    (
        "a grant by uid is for that one",
        place(OLD, NEW, grants=[{"from": {"namespace": "shop", "uid": OLD}, "to": {"namespace": "recovered"}}]),
        ("recovered", "r"),
        NEW,
        "NotGranted",
    ),
    (
        "a grant to a uid is not for its successor",
        place(OLD, grants=[{"from": {"namespace": "shop"}, "to": {"namespace": "recovered", "uid": "r"}}]),
        ("recovered", "r2"),
        None,
        "NotGranted",
    ),
    (
        "re-created, and granted its past",
        place(OLD, grants=[{"from": {"namespace": "shop"}, "to": {"namespace": "shop"}}]),
        ("shop", NEW),
        None,
        VAULT[OLD],
    ),
    ("granted, but there is nothing", place(OTHER, grants=[TO_RECOVERED]), ("recovered", "r"), None, "VaultNotFound"),
]


@pytest.mark.parametrize(("where", "reader", "uid", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_who_reads_whose(where: BackupLocation, reader: tuple[str, str], uid: str | None, expected: str) -> None:
    assert asked(where, *reader, uid=uid) == expected


def test_a_refusal_gives_the_line_to_add_and_that_line_helps() -> None:
    refusal = resolve_source(place(OLD), SourceNamespace(name="shop"), Namespace("recovered", "r"))
    assert isinstance(refusal, Refusal)
    assert "{from: {namespace: shop}, to: {namespace: recovered, uid: r}}" in refusal.message
    granted = place(OLD, grants=[{"from": {"namespace": "shop"}, "to": {"namespace": "recovered", "uid": "r"}}])
    assert asked(granted, "recovered", "r") == VAULT[OLD]


def test_who_may_not_read_does_not_learn_what_is_there() -> None:
    there = resolve_source(place(OLD, NEW), SourceNamespace(name="shop"), Namespace("recovered", "r"))
    nothing = resolve_source(place(), SourceNamespace(name="shop"), Namespace("recovered", "r"))
    assert there == nothing


@pytest.mark.parametrize(
    ("selector", "labels", "allowed"),
    [
        ({}, {}, True),
        ({"matchLabels": {"zone": "eu"}}, {"zone": "eu", "x": "y"}, True),
        ({"matchLabels": {"zone": "eu"}}, {"zone": "us"}, False),
        ({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["eu", "uk"]}]}, {"zone": "uk"}, True),
        ({"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["us"]}]}, {}, True),
        ({"matchExpressions": [{"key": "zone", "operator": "Exists"}]}, {}, False),
        ({"matchExpressions": [{"key": "zone", "operator": "DoesNotExist"}]}, {}, True),
        ({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]}, {"a": "1"}, False),
    ],
)
def test_which_namespaces_may_use_a_location(selector: Object, labels: dict[str, str], allowed: bool) -> None:
    where = decode(BackupLocation, location(spec={"allowedNamespaces": selector}))
    refusal = check_namespace(where, "shop", labels)
    assert (refusal is None) is allowed
    assert refusal is None or (refusal.reason == "NamespaceNotAllowed" and "shop" in refusal.message)
