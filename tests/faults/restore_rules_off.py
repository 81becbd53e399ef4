"""The rules of a restore, each switched off: what the code would do without it. test_restore_faults.py shows that every one is missed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from recoup.api.backuplocation import Vault
from recoup.plan import handback, restore_resolve
from recoup.plan.movers import MoverState, judge_mover
from recoup.plan.refusals import Admitted
from recoup.plan.restore_source import source_vault

Patch = pytest.MonkeyPatch


def grant_everything(patch: Patch) -> None:
    """Whoever names a vault reads it."""

    def resolve(location: Any, source: Any, _reader: Any, _vault: Any = None) -> Vault:
        vaults: tuple[Vault, ...] = location.status.vaults
        return next(vault for vault in vaults if vault.namespace == source.name)

    patch.setattr("recoup.plan.restore_source.resolve_source", resolve)


def trust_the_status(patch: Patch) -> None:
    """What the settled plan says is not judged again."""
    patch.setattr("recoup.plan.restore._denied", lambda *_: None)


def vault_by_name(patch: Patch) -> None:
    """A namespace is its name."""

    def find(request: Any, reader: Any, location: Any, snapshot: Any = None) -> Any:
        named = [vault for vault in location.status.vaults if vault.namespace == reader.name]
        known = msgspec.structs.replace(reader, uid=named[0].namespace_uid) if named else reader
        return source_vault(request, known, location, snapshot)

    for module in ("restore", "restore_resolve", "restore_source"):
        patch.setattr(f"recoup.plan.{module}.source_vault", find)


def any_root_key(patch: Patch) -> None:
    real = restore_resolve._source

    def source(*arguments: Any) -> Any:
        found = real(*arguments)
        return (found[0], msgspec.structs.replace(found[1], fingerprint="")) if isinstance(found, tuple) else found

    patch.setattr(restore_resolve, "_source", source)


def overlook_claims(patch: Patch) -> None:
    """Targets are not looked at before the plan is made."""
    real = restore_resolve._plan_volume
    patch.setattr(restore_resolve, "_plan_volume", lambda observed, *rest: real(msgspec.structs.replace(observed, claims=()), *rest))


def any_size(patch: Patch) -> None:
    patch.setattr("recoup.plan.restore_resolve.parse_bytes", lambda _text: 0)


def any_place(patch: Patch) -> None:
    patch.setattr("recoup.plan.restore_resolve.has_place", lambda *_: True)


def any_class(patch: Patch) -> None:
    real = restore_resolve._storage_class
    fast = {"metadata": {"name": "fast"}}

    def choose(*arguments: Any) -> Any:
        found = real(*arguments)
        return found if isinstance(found, dict) else fast

    patch.setattr(restore_resolve, "_storage_class", choose)


def per_namespace_secrets_are_fine(patch: Patch) -> None:
    patch.setattr("recoup.plan.restore_resolve.per_namespace_secrets", lambda _class: None)


def every_end_is_good(patch: Patch) -> None:
    """A mover that ended has restored, whatever its exit code."""

    def judge(*arguments: Any, **more: Any) -> Any:
        found = judge_mover(*arguments, **more)
        return msgspec.structs.replace(found, state=MoverState.SUCCEEDED) if found.state is MoverState.FAILED else found

    patch.setattr("recoup.plan.restore_volume.judge_mover", judge)


def hide_refusals(patch: Patch) -> None:
    patch.setattr("recoup.plan.restore_volume.admit", lambda actions, *_: Admitted(actions))


def hold_nothing(patch: Patch) -> None:
    """The PersistentVolume keeps its reclaim policy while it changes hands."""
    patch.setattr(handback, "_is_held", lambda *_: True)


def take_what_is_there(patch: Patch) -> None:
    """Whatever PVC has the target's name is the target."""
    patch.setattr(handback, "_is_target", lambda claim, *_: claim is not None)
