"""Small programs of the developers: what is derived from what."""
