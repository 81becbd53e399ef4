"""Makes msgspec's structs safe to decode from several threads.

msgspec (0.22) builds what it knows of a struct at the first decoding and publishes it half-built; a second thread that decodes the
same struct meanwhile crashes the process. Whoever is about to start threads calls `build_type_info` first: it builds all of it, in
one thread, for every struct that has been imported. A test (tests/unit/test_typeinfo.py) shows the crash without it.
"""

import threading
from collections.abc import Iterator

import msgspec

from recoup.value import Record, Value

_lock = threading.Lock()
_built: set[type] = set()


def build_type_info() -> None:
    """Build the type information of every struct that may be decoded. Idempotent; milliseconds the first time, microseconds after."""
    with _lock:
        for struct in _structs(msgspec.Struct):
            if struct not in _built:
                _build(struct)
                _built.add(struct)


def _build(struct: type) -> None:
    try:
        msgspec.msgpack.Decoder(struct)
    except TypeError:  # not to be decoded (a base with type variables, say)
        return


def _structs(base: type) -> Iterator[type]:
    struct: type
    for struct in base.__subclasses__():
        if struct in (Value, Record):
            continue
        yield struct
        yield from _structs(struct)
