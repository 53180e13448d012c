"""``POST /`` and ``POST /hf``: where the Hugging Face clients send, with ``base_url`` and with a URL of one's own."""

from __future__ import annotations

from starlette.types import Receive, Scope

from serve.formats.hot_route import HotRoute, Reply, rendered, told_in_headers
from serve.formats.hugging_face import HuggingFaceRequest, render
from serve.parsing import check_texts, read_json
from serve.predicting import Query

PATHS = ("/", "/hf")


class HuggingFaceRoute(HotRoute):
    """Answers ``text-classification``."""

    async def answer(self, scope: Scope, receive: Receive) -> Reply:
        """Return nested labels with scores, whatever the number of texts."""
        settings = self.parts.settings
        request = await read_json(scope, receive, HuggingFaceRequest, settings)
        texts = request.texts()
        check_texts(texts, settings, "inputs")
        answer = await self.parts.predictor.predict(Query(texts, request.query_options()))
        return Reply(await rendered(answer, render), told_in_headers(answer))
