"""How forget, prune, pin and unpin come to the maintenance keys: out of the vault by a key of its own, or as files from the keys Job.

`@maintenance_options` hands the command `keys: MaintenanceOptions`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from recoup.cli.options import KeyOptions, key_options
from recoup.errors import Usage
from recoup.value import Value

if TYPE_CHECKING:
    from recoup.engine.maintenance.opened import Maintained
    from recoup.engine.stores.base import Store

_HELP = (
    "Directory with maintenance.json, as the Secret maintenance-HEX of a cluster holds it, instead of a key: "
    "enough to forget, pin and prune, and opens no content."
)


class MaintenanceOptions(Value, frozen=True):
    """A key of the vault, or a directory with the maintenance role's own."""

    keys: KeyOptions
    directory: str | None

    def open(self, store: Store) -> Maintained:
        """Open the vault that is meant; its log has been followed on return. Raises Usage if both are given, or neither."""
        from recoup.engine.keys.roles import MaintenanceKeys
        from recoup.engine.maintenance.opened import Maintained, open_maintained

        if self.directory is None:
            unlocked = self.keys.unlock(store)
            return Maintained(unlocked.log, unlocked.maintenance)
        if self.keys.given:
            raise Usage("give a key of the vault (--key-file, …) or --maintenance-keys, not both")
        role = MaintenanceKeys.load(self.directory)
        vault = role.identity.vault_id.hex()
        if self.keys.vault not in (None, vault):
            raise Usage(f"--vault is {self.keys.vault}, but --maintenance-keys are those of vault {vault}")
        return open_maintained(store, role)

    def beside(self, store: Store, directory: str) -> Maintained:
        """Open another vault at the same location by the maintenance keys in `directory`; its log has been followed on return."""
        from recoup.engine.keys.roles import MaintenanceKeys
        from recoup.engine.maintenance.opened import open_maintained

        return open_maintained(store, MaintenanceKeys.load(directory))


def maintenance_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `key_options`, and --maintenance-keys."""

    @functools.wraps(function)
    def call(*args: Any, keys: KeyOptions, maintenance_keys: str | None, **values: Any) -> Any:
        return function(*args, keys=MaintenanceOptions(keys, maintenance_keys), **values)

    directory = click.Path(exists=True, file_okay=False)
    return click.option("--maintenance-keys", metavar="DIR", type=directory, help=_HELP)(key_options(call))
