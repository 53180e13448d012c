"""What one would write in an hour: Ray Serve, FastAPI and a transformers pipeline, everything at its default.

::

    python -m load_tests.baselines.plain_ray --bundle <folder> --port 8000
"""

# Annotations stay objects: as strings FastAPI does not find their classes again in a replica's process.
import argparse
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

import ray
from fastapi import FastAPI
from pydantic import BaseModel
from ray import serve

from load_tests.baselines.model_folder import write_model

app = FastAPI()


class Texts(BaseModel):
    """Body of a request: one text or several."""

    text: str | None = None
    texts: list[str] | None = None


class TextClassifier:
    """A replica."""

    def __init__(self, model: str) -> None:
        from transformers import pipeline

        self._pipeline: Any = pipeline("text-classification", model=model, trust_remote_code=True)

    @app.post("/predict")
    def predict(self, body: Texts) -> Any:
        """Answer with the best label and its score, of each text."""
        return self._pipeline(body.text if body.text is not None else body.texts)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="Serve a model with Ray Serve's defaults.")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    # Ray's socket paths inside it may have 107 characters.
    parent = "/tmp" if os.access("/tmp", os.W_OK) else None  # noqa: S108 - mkdtemp makes it private
    folder = Path(tempfile.mkdtemp(prefix="hone-plain-", dir=parent))
    # Where transformers keeps the code that the model's folder brings.
    os.environ["HF_HOME"] = str(folder / "huggingface")
    try:
        write_model(options.bundle, folder / "model")
        ray.init(address="local", include_dashboard=False, log_to_driver=False, _temp_dir=str(folder / "ray"))
        serve.start(http_options={"port": options.port})
        deployment = serve.deployment()(serve.ingress(app)(TextClassifier))
        serve.run(deployment.bind(str(folder / "model")), name="plain")
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
