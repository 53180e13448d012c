"""Every setting of Hone, read once at an entry point (``Settings()``) and passed down.

Each is an environment variable ``HONE_<NAME>``, a field with default, bounds and description in the module of its group. The
table in the README is generated from the descriptions (``python -m deploy.reference``), and a test fails when the two differ.
"""

from core.finetuning import FinetuneSettings
from core.schemas import FitSpeed
from core.settings.combined import RESERVED_NAMES, Settings
from core.settings.kinds import Ratio

Speed = FitSpeed

__all__ = ["RESERVED_NAMES", "FinetuneSettings", "Ratio", "Settings", "Speed"]
