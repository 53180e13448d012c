"""The command `hone`."""

from __future__ import annotations

from deploy.cli.root import app, main

__all__ = ["app", "main"]
