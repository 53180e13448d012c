"""A bundle: everything needed to answer, as one immutable folder.

::

    manifest.json            what is below, with a SHA-256 of every file
    head.safetensors         encoder.weight (h, c), ngrams.weight (k, c), bias (c); h features, k n-grams, c labels
    ngrams.json              vocabulary and inverse document frequencies
    encoder/tokenizer.json   the tokenizer
    encoder/config.json …    the torch encoder in Hugging Face layout (config.json, model.safetensors)
    encoder/onnx/*.onnx      the variants an engine can run: token ids in, embedding (n, h) out
    card.md                  the model card
    profile.safetensors      how it answered held-out rows, the reference for drift; absent in bundles made before there was one
    validation.safetensors   what it said of validation rows before it learned them, for choosing thresholds; absent like that
    label-shift.json         by how many nats each label is likelier in traffic than in what was learned, which is in the bias
                             already; absent where nothing is shifted
    tuned.safetensors        the head over embeddings that was trained together with the encoder, where it was: what weights
                             are averaged with

Only data is read from a bundle: safetensors, ONNX and JSON; never pickle, never code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from core.errors import BundleError
from core.home import sync_folder, write_atomically
from core.text import TextSettings

FORMAT = 1
# JSON takes many times its size in memory when it is read. The largest tokenizers in use have 35 MB.
MAX_JSON_BYTES = 100_000_000
MANIFEST = "manifest.json"
HEAD = "head.safetensors"
NGRAMS = "ngrams.json"
CARD = "card.md"
TUNED = "tuned.safetensors"
ENCODER = "encoder"
TOKENIZER = f"{ENCODER}/tokenizer.json"
Features = Literal["encoder", "ngrams", "both"]
Variant = Literal["fp32", "int8"]


class Strict(BaseModel):
    """Part of a manifest; an unknown field means another format."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Vocabulary(Strict):
    """What was done about text the base tokenizer cannot read."""

    unknown_ratio_before: float = Field(description="Share of training tokens that were unknown to the base tokenizer.")
    unknown_ratio_after: float
    added: int = Field(description="Pieces added to the vocabulary.")


class EncoderSpec(Strict):
    """The encoder of a bundle."""

    base: str = Field(description="Where the weights started: a hub id, a folder's name, or the bundled default.")
    hidden: int = Field(description="Length h of the embedding.")
    max_tokens: int = Field(description="Longer texts are cut here.")
    pooling: Literal["mean"] = "mean"
    weights_sha256: str = Field(description="Names the function text -> embedding: tokenizer and torch weights.")
    variants: dict[Variant, str] = Field(description="Engine files, relative to the bundle.")
    serving: Variant = Field(description="The variant that passed parity and is served.")
    vocabulary: Vocabulary | None = None


class NgramSpec(Strict):
    """The n-gram features of a bundle."""

    size: int
    longest: int
    min_documents: int = Field(description="n-grams in fewer training texts stay out, so that no rare name hides in a bundle.")


class Parity(Strict):
    """How the served engine compares with torch on the rows of the test split.

    At export the fp32 engine is compared with torch itself, embedding by embedding (``encoder_gap``); the labels of the served
    engine are then compared with those of the fp32 one, which is quick enough to do on every row.
    """

    rows: int
    encoder_gap: float = Field(description="Largest difference between the fp32 engine's embeddings and torch's.")
    label_agreement_ratio: float
    max_probability_gap: float
    accuracy_torch: float
    accuracy_engine: float


class Nearness(Strict):
    """How near a text must be to a corrected one for the memory to give it the same label, and how that was found.

    Counts are of texts: those of the validation part that are answered from the others, of these from the ones that were
    predicted wrong (``wrong_…``), and of the test part, which chose nothing.
    """

    similarity: float | None = Field(description="Least cosine similarity; null where none was seen to be reliable.")
    contrary_score: float = Field(description="A version that is as sure of another label is not overruled.")
    rows: int
    answered: int
    right: int
    right_low: float = Field(description="The share of right answers is higher, with a confidence of 95%.")
    wrong_rows: int
    wrong_answered: int
    wrong_right: int
    test_rows: int
    test_answered: int
    test_right: int


class Lineage(Strict):
    """Where a bundle comes from."""

    parent: str | None = Field(description="The version it was trained from.")
    dataset: str = Field(description="Hash of the base data set.")
    snapshot: str = Field(description="Hash of the examples it saw: base data and corrections.")
    run: str | None
    speed: Literal["head", "full"]
    seed: int
    settings: dict[str, str | int | float | bool | None]
    libraries: dict[str, str]
    rows: dict[str, int] = Field(description="Examples by split; of them `corrected` by people and `doubted` for it.")
    train_s: float

    @property
    def made_of(self) -> str | None:
        """Return which versions it was made of and how; None for one that learned by itself."""
        members = self.settings.get("members")
        if not members:
            return None
        said = ", ".join(str(members).split())
        return f"taught what {said} say together" if self.settings.get("ensemble") == "distill" else f"the average of {said}"


class Manifest(Strict):
    """The table of contents of a bundle."""

    format: Literal[1] = 1
    created_at: datetime
    labels: list[str] = Field(min_length=2)
    text: TextSettings
    features: Features
    encoder: EncoderSpec | None
    ngrams: NgramSpec | None
    temperature: float = Field(gt=0, description="Logits are divided by it; fitted on validation rows.")
    metrics: dict[str, float] = Field(description="Computed on rows of the test split only, unless the name says `validation`.")
    parity: Parity | None
    nearness: Nearness | None = Field(None, description="Null without an encoder, and in bundles of earlier releases.")
    lineage: Lineage
    probes: list[Probe] = Field(description="Fixed texts with the answer recorded at export; a loader repeats them.")
    files: dict[str, str] = Field(default_factory=dict, description="SHA-256 by path.")

    @field_validator("labels")
    @classmethod
    def _differ(cls, labels: list[str]) -> list[str]:
        if len(set(labels)) != len(labels):
            raise ValueError("labels must differ")
        return labels


class Probe(Strict):
    """A fixed text and what the bundle answered to it when it was made."""

    text: str
    label: str
    score: float


Manifest.model_rebuild()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(folder: Path, manifest: Manifest, known: Mapping[str, str] | None = None) -> Manifest:
    """Record the checksum of every file in ``folder`` and write the manifest last; without one a folder is no bundle.

    ``known`` are checksums, by path, of files that were read just before and have not changed since.
    """
    kept = known or {}
    files = {name: kept.get(name) or file_sha256(folder / name) for name in _names(folder)}
    sealed = manifest.model_copy(update={"files": files})
    write_atomically(folder / MANIFEST, sealed.model_dump_json(indent=1).encode())
    for path in {(folder / name).parent for name in files}:
        sync_folder(path)
    return sealed


def check_json_size(path: Path) -> None:
    """Raise ``BundleError`` when ``path`` is there and has more than ``MAX_JSON_BYTES``."""
    try:
        size = path.stat().st_size
    except OSError:
        # Who reads it says what is wrong.
        return
    if size > MAX_JSON_BYTES:
        raise BundleError(f"{path.name} has {size} bytes; {MAX_JSON_BYTES} are allowed")


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a bundle, without looking at its other files.

    Raises:
        BundleError: when there is none, or it is of another format.
    """
    path = folder / MANIFEST
    check_json_size(path)
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{folder.name} is not a bundle: its {MANIFEST} is missing or not JSON") from error
    if not isinstance(body, dict):
        raise BundleError(f"{folder.name} is not a bundle: its {MANIFEST} is no JSON object")
    if body.get("format") != FORMAT:
        raise BundleError(f"{folder.name} has bundle format {body.get('format')!r}; this release reads {FORMAT}")
    try:
        return Manifest.model_validate(body)
    except ValidationError as error:
        places = sorted({".".join(map(str, item["loc"])) for item in error.errors(include_input=False)})
        raise BundleError(f"{folder.name} has a manifest with wrong fields: {', '.join(places[:5])}") from error


def verify(folder: Path, *, unread: str | None = None) -> Manifest:
    """Return the manifest after comparing every file with its checksum.

    Files under the subfolder ``unread`` are not compared: what they should hold is in memory already, and is not read again.

    Raises:
        BundleError: naming the first file that is missing or altered, or that the manifest does not name.
    """
    manifest = read_manifest(folder)
    for name, digest in manifest.files.items():
        if unread is not None and name.startswith(f"{unread}/"):
            continue
        try:
            _compare(folder, name, digest)
        except (OSError, ValueError) as error:
            # A name no file system takes, or a file this process may not read.
            raise BundleError(f"{folder.name} names the file {name!r}, which cannot be read") from error
    extra = next((name for name in _names(folder) if name not in manifest.files), None)
    if extra is not None:
        raise BundleError(f"{folder.name} holds {extra}, which its {MANIFEST} does not name")
    return manifest


def _compare(folder: Path, name: str, digest: str) -> None:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BundleError(f"{folder.name} names the file {name}, which lies outside the bundle")
    if not path.is_file():
        raise BundleError(f"{folder.name} lacks {name}")
    if file_sha256(path) != digest:
        raise BundleError(f"{folder.name} holds an altered {name}: its SHA-256 is not the recorded one")


def _names(folder: Path) -> list[str]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir())
    return [name for path in paths if (name := path.relative_to(folder).as_posix()) != MANIFEST]
