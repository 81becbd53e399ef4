"""The `recoup` command line: one command per file, each loading the engine only when it runs."""
