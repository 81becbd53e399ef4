"""Just enough MessagePack to read records."""

from __future__ import annotations

from typing import Any

_UNSIGNED = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_SIGNED = {0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_BIN = {0xC4: 1, 0xC5: 2, 0xC6: 4}
_STR = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_ARRAY = {0xDC: 2, 0xDD: 4}
_MAP = {0xDE: 2, 0xDF: 4}


def unpack(data: bytes) -> Any:
    value, end = _read(data, 0)
    if end != len(data):
        raise ValueError("bytes after the record")
    return value


def _read(data: bytes, at: int) -> tuple[Any, int]:
    tag = data[at]
    at += 1
    if tag <= 0x7F:
        return tag, at
    if tag >= 0xE0:
        return tag - 256, at
    if tag in {0xC0, 0xC2, 0xC3}:
        return {0xC0: None, 0xC2: False, 0xC3: True}[tag], at
    for table, signed in ((_UNSIGNED, False), (_SIGNED, True)):
        if tag in table:
            end = at + table[tag]
            return int.from_bytes(data[at:end], "big", signed=signed), end
    for table, fixed, mask in ((_BIN, None, 0), (_STR, 0xA0, 0x1F), (_ARRAY, 0x90, 0x0F), (_MAP, 0x80, 0x0F)):
        if tag in table:
            end = at + table[tag]
            return _body(data, end, int.from_bytes(data[at:end], "big"), table)
        if fixed is not None and fixed <= tag <= fixed + mask:
            return _body(data, at, tag & mask, table)
    raise ValueError(f"unexpected MessagePack tag {tag:#x}")


def _body(data: bytes, at: int, count: int, table: dict[int, int]) -> tuple[Any, int]:
    if table is _BIN or table is _STR:
        raw = data[at : at + count]
        if len(raw) != count:
            raise ValueError("cut short")
        return (raw if table is _BIN else raw.decode()), at + count
    items = []
    for _ in range(count * (2 if table is _MAP else 1)):
        item, at = _read(data, at)
        items.append(item)
    return (dict(zip(items[::2], items[1::2], strict=True)) if table is _MAP else items), at
