"""The CSI driver for tests, without Kubernetes: conformance by csi-sanity, and what conformance does not ask."""
