"""What a cluster is told: Ray's Serve configuration and Kubernetes' manifests, made from the settings."""
