"""Locations for commands that need several: each URL carries its own settings.

`s3://bucket/prefix?endpoint-url=https://s3.example.org&credentials-dir=/etc/recoup/eu`: names and meanings are those of the options that go
with --location. Paths and addresses only, never a secret. What a URL does not say comes from the usual AWS configuration.
"""

from __future__ import annotations

import os
from typing import Any, Final
from urllib.parse import parse_qsl

import click

from recoup.cli.options import Location, LockType

SETTINGS: Final = ("endpoint-url", "region", "path-style", "ca-bundle", "credentials-dir", "object-lock")
_TRUTH: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

SETTINGS_HELP: Final = (
    "A location may carry its own settings: s3://bucket/prefix?endpoint-url=https://s3.example.org&region=eu-1&credentials-dir=DIR"
    "&ca-bundle=FILE&path-style=true&object-lock=compliance:30d. What it does not say comes from the usual AWS configuration. "
    "Quote it for the shell."
)


class PlaceType(click.ParamType[Location]):
    """A location with its settings."""

    name = "location"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Location:
        if isinstance(value, Location):
            return value
        url, _, query = str(value).partition("?")
        try:
            pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
        except ValueError:
            self.fail(f"{value}: settings are written name=value, with & between them", param, ctx)
        settings = dict(pairs)
        unknown = sorted(set(settings) - set(SETTINGS))
        if unknown or len(settings) != len(pairs):
            self.fail(
                f"{url}: {', '.join(unknown) or 'a setting'} is not known or given twice; known are {', '.join(SETTINGS)}", param, ctx
            )
        style = settings.get("path-style")
        if style is not None and style.lower() not in _TRUTH:
            self.fail(f"{url}: path-style is true or false", param, ctx)
        for name, exists in (("ca-bundle", os.path.isfile), ("credentials-dir", os.path.isdir)):
            if name in settings and not exists(settings[name]):
                self.fail(f"{url}: {name} {settings[name]!r} does not exist", param, ctx)
        return Location(
            url=url,
            endpoint_url=settings.get("endpoint-url") or os.environ.get("AWS_ENDPOINT_URL_S3"),
            region=settings.get("region"),
            path_style=None if style is None else _TRUTH[style.lower()],
            ca_bundle=settings.get("ca-bundle"),
            credentials_dir=settings.get("credentials-dir"),
            upload_limit=None,
            download_limit=None,
            object_lock=LockType().convert(settings["object-lock"], param, ctx) if "object-lock" in settings else None,
        )
