"""Every setting of Hone, read once at an entry point (``Settings()``) and passed down.

Each is an environment variable ``HONE_<NAME>``, a field with default, bounds and description in the module of its group. The
table in the README is generated from the descriptions (``python -m deploy.reference``), and a test fails when the two differ.
"""

from core.settings.combined import Settings

__all__ = ["Settings"]
