"""FastAPI with a pipeline of transformers, as most tutorials have it; texts that come together are one batch."""

# Annotations stay objects, so that FastAPI finds the class of the body.
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import pipeline

from load_tests.peers.servers.launching import options


class Texts(BaseModel):
    """One text or several."""

    text: str | None = None
    texts: list[str] | None = None


def build(model: str) -> FastAPI:
    """Return the application."""
    app = FastAPI()
    classify: Any = pipeline("text-classification", model=model, trust_remote_code=True, batch_size=32)

    @app.post("/predict")
    def predict(body: Texts) -> Any:
        return classify(body.text if body.text is not None else body.texts, truncation=True)

    return app


if __name__ == "__main__":
    asked = options()
    uvicorn.run(build(str(asked.model)), host="127.0.0.1", port=asked.port, log_level="warning", access_log=False)
