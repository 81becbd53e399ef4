"""Which adapter serves which URL. A new kind of place is one module beside this one and one line here."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from recoup.engine.stores.base import Store, StoreOptions
from recoup.engine.stores.limited import limited
from recoup.errors import Usage


def open_store(url: str, options: StoreOptions | None = None) -> Store:
    """The store at `url`: file:///directory or s3://bucket/prefix. Connects to nothing yet. Raises Usage for a URL it can't read."""
    options = options or StoreOptions()
    parts = urlsplit(url)
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise Usage(f"location {parts.scheme}://{parts.hostname or ''}…: no user, query or fragment may stand in a location")
    if parts.scheme == "file":
        from recoup.engine.stores.file import FileStore  # noqa: PLC0415  # each command loads only the adapter it uses

        if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/") or parts.path == "/":
            raise Usage(f"location {url}: a directory is written file:///absolute/path")
        if options.object_lock is not None:
            raise Usage(f"location {url}: a directory has no object lock; that is something of buckets")
        return limited(FileStore(unquote(parts.path)), options)
    if parts.scheme == "s3":
        from recoup.engine.stores.s3_versioned import VersionedS3Store  # noqa: PLC0415  # boto3 costs 0.4 s

        if not parts.netloc:
            raise Usage(f"location {url}: a bucket is written s3://bucket/prefix")
        return VersionedS3Store(parts.netloc, parts.path.strip("/"), options)
    raise Usage(f"location {url}: file:///directory and s3://bucket/prefix are known")
