"""The backup engine: repository format, stores, backup and restore. Knows nothing of Kubernetes."""
