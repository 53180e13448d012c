"""Measurements that need a running service or a quiet machine; the only place where wall-clock limits are checked."""
