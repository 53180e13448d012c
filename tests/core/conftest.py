"""Hypothesis without deadlines: how long an example takes on a busy machine says nothing about the code."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("hone", deadline=None)
settings.load_profile("hone")
