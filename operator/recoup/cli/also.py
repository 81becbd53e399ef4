"""`--also URL`: other locations that hold copies, for commands that read. What a place does not give, the next one is asked for.

The vault is opened at the first place that answers; its log says which recovery points there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from recoup.cli.options import KeyOptions, Location
from recoup.cli.places import PlaceType
from recoup.errors import Denied, Integrity, Invalid, RecoupError, Retryable, Usage

if TYPE_CHECKING:
    from recoup.engine.stores.base import Store
    from recoup.engine.stores.failover import FailoverStore
    from recoup.engine.vault import Unlocked

PATIENCE = 15.0
"""Seconds for which a place is waited for while there are others."""

also_option = click.option(
    "--also",
    metavar="URL",
    type=PlaceType(),
    multiple=True,
    help="Another location with a copy, for what --location does not give: missing, damaged, out of reach; several times, asked in order. "
    "It may carry its own settings: s3://bucket/prefix?endpoint-url=URL&region=NAME&credentials-dir=DIR&ca-bundle=FILE&path-style=true.",
)


def unlock_somewhere(
    keys: KeyOptions, location: Location, also: Sequence[Location], notice: Callable[[str], None]
) -> tuple[Unlocked, FailoverStore]:
    """The vault as the first place that answers has it, and its objects wherever they are. If none answers, raises what the first said."""
    from recoup.engine.places import here, here_and_elsewhere

    if not also:
        unlocked = keys.unlock(location.open())
        return unlocked, here(unlocked.log)
    others = [replace(other, download_limit=location.download_limit) for other in also]
    stores = [_open(place) for place in (location, *others)]
    failures: list[RecoupError] = []
    for number, store in enumerate(stores):
        try:
            unlocked = keys.unlock(store)
        except Usage:
            raise
        except (Retryable, Denied, Invalid, Integrity) as error:
            failures.append(error)
            notice(f"{store.url} cannot be used: {error}")
            continue
        # A place that failed is asked last: it may come back.
        return unlocked, here_and_elsewhere(unlocked.log, [*stores[number + 1 :], *stores[:number]], notice)
    raise failures[0]


def sources_of(store: FailoverStore) -> list[dict[str, Any]]:
    """How much came from where, for -o json."""
    return [
        {
            "url": place.store.url,
            "objects": place.objects,
            "bytes": place.bytes,
            "badObjects": place.bad_total,
            "failures": place.failures,
            "trouble": place.trouble,
        }
        for place in store.places
    ]


def tell_sources(store: FailoverStore) -> str:
    """How much came from where, in one line; empty if there is but one place."""
    if len(store.places) == 1:
        return ""
    return "; ".join(
        f"{place.objects} objects from {place.store.url}" + (f" ({place.bad_total} bad there)" if place.bad_total else "")
        for place in store.places
    )


def _open(place: Location) -> Store:
    from recoup.engine.stores.registry import open_store

    return open_store(place.url, replace(place.options(), patience=PATIENCE))
