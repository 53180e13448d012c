"""Snapshot → dataset → features → head → encoder → export → gate → register."""
