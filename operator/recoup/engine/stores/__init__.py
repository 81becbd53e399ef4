"""Byte stores that hold a location's objects: one Protocol, one adapter per URL scheme, opened by `registry.open_store`."""
