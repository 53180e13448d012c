"""The bundle's encoder and its share of the head as a Hugging Face model that any pipeline of transformers opens.

No class of transformers takes the mean of all tokens and a linear layer, so the folder brings its own, as such models do: it is
opened with ``trust_remote_code``.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from load_tests.baselines import mean_pooled

_CODE = "mean_pooled"


def write_model(bundle: Path, folder: Path) -> Path:
    """Return ``folder`` with the model in it: what its pipeline answers is what the bundle without n-grams answers, in fp32."""
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    encoder, labels = bundle / "encoder", manifest["labels"]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(encoder / name, folder / name)
    shutil.copy(mean_pooled.__file__, folder / f"{_CODE}.py")
    config = json.loads((encoder / "config.json").read_text(encoding="utf-8"))
    config |= {
        "architectures": ["MeanPooledForSequenceClassification"],
        "auto_map": {"AutoModelForSequenceClassification": f"{_CODE}.MeanPooledForSequenceClassification"},
        "id2label": {str(place): label for place, label in enumerate(labels)},
        "label2id": {label: place for place, label in enumerate(labels)},
        "problem_type": "single_label_classification",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    # A pipeline cuts at this length when it is told to truncate.
    settings = json.loads((encoder / "tokenizer_config.json").read_text(encoding="utf-8"))
    padding = Tokenizer.from_file(str(encoder / "tokenizer.json")).id_to_token(config["pad_token_id"])
    settings |= {"model_max_length": manifest["encoder"]["max_tokens"], "pad_token": padding}
    settings["model_input_names"] = ["input_ids", "attention_mask"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    head = load_file(bundle / "head.safetensors")
    temperature = np.float32(manifest["temperature"])
    weights = {f"bert.{name}": value for name, value in load_file(encoder / "model.safetensors").items()}
    weights["classifier.weight"] = np.ascontiguousarray(head["encoder.weight"].T / temperature)
    weights["classifier.bias"] = head["bias"] / temperature
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
