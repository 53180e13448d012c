"""Migrations of the feedback store; run by :mod:`feedback.database`, never by hand."""
