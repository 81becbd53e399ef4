"""Reading what is to be backed up: directory trees, files with their holes, block devices. Never writes to a source."""
