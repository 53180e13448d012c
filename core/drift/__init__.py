"""Telling whether what a version is asked, answers and gets wrong is still what it was measured on.

``samples`` says what is looked at, ``profile`` keeps it of a version's own held-out rows, the detectors compare the two
(``distributions``, ``embeddings``, ``errors``), ``verdict`` decides on all of them together, ``estimating`` guesses accuracy
without labels, and ``why`` shows what moved.
"""
