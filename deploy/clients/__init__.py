"""Hone from Python: a typed client that waits and one for asyncio, with retries, timeouts and Hone's own errors.

>>> from deploy.clients import Client
>>> with Client("http://127.0.0.1:8321") as hone:  # doctest: +SKIP
...     answer = hone.predict("Great phone, I love it")
...     hone.correct("negative", prediction_id=answer.prediction_id)
"""

from __future__ import annotations

from deploy.clients.asynchronous import AsyncClient
from deploy.clients.blocking import Client
from deploy.clients.calls import CorrectionFields, PredictOptions
from deploy.clients.connection import Connection
from deploy.clients.retrying import Retries

__all__ = ["AsyncClient", "Client", "Connection", "CorrectionFields", "PredictOptions", "Retries"]
