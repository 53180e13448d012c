"""An encoder that somebody else made on purpose: its code is not run and its pickles are not read."""

from __future__ import annotations

import ast
import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import train
from core.errors import EncoderError
from train.base import load_base

_ROOMS = ("core", "feedback", "serve", "train", "deploy")
# A pipe between the learner and a process that it started itself is no file into which somebody could put a pickle.
_PIPES = {"warm.py", "worker.py", "drift_process.py"}
_UNPICKLERS = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}


class _Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.fixture
def folder(toy_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_folder, tmp_path / "foreign"))


@pytest.fixture
def sprung(tmp_path: Path) -> Path:
    """Give the file that a trap would leave."""
    return tmp_path / "sprung"


def test_code_that_comes_with_an_encoder_is_not_run(folder: Path, sprung: Path) -> None:
    code = f"from pathlib import Path\nPath({str(sprung)!r}).touch()\nclass Model: ...\nclass Config: ...\nclass Words: ...\n"
    (folder / "modeling_foreign.py").write_text(code, encoding="utf-8")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    names = {"AutoModel": "modeling_foreign.Model", "AutoConfig": "modeling_foreign.Config"}
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "foreign", "auto_map": names}), encoding="utf-8")
    with pytest.raises(EncoderError):
        load_base(str(folder))
    # Of a kind that the library knows, it is read as that kind.
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": names}), encoding="utf-8")
    tokenizer = {"tokenizer_class": "Words", "auto_map": {"AutoTokenizer": ["modeling_foreign.Words", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    assert load_base(str(folder)).hidden
    assert not sprung.exists()


def test_weights_as_a_pickle_are_not_read(folder: Path, sprung: Path) -> None:
    trap = pickle.dumps(_Trap(sprung))
    for name in ("pytorch_model.bin", "training_args.bin", "model.pt", "optimizer.pt", "vocab.pkl"):
        (folder / name).write_bytes(trap)
    assert load_base(str(folder)).hidden, "what lies beside the weights does no harm"
    (folder / "model.safetensors").unlink()
    with pytest.raises(EncoderError):
        load_base(str(folder))
    (folder / "model.safetensors").write_bytes(trap)
    with pytest.raises(EncoderError):
        load_base(str(folder))
    assert not sprung.exists()
    pickle.loads(trap)  # noqa: S301 - the trap works
    assert sprung.exists()


def _calls() -> Iterator[tuple[Path, ast.Call]]:
    root = Path(train.__file__).parents[1]
    for room in _ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    yield path, node


def test_no_room_asks_for_remote_code_or_reads_a_pickle() -> None:
    loaded = 0
    for path, call in _calls():
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        words = {word.arg: word.value for word in call.keywords}
        trust = words.get("trust_remote_code")
        assert trust is None or (isinstance(trust, ast.Constant) and trust.value is False), path
        if name == "from_pretrained":
            loaded += 1
            assert trust is not None, f"{path}:{call.lineno} leaves it to the library"
        owner = call.func.value.id if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name) else ""
        if (owner, name) == ("torch", "load"):
            only = words.get("weights_only")
            assert isinstance(only, ast.Constant), f"{path}:{call.lineno}"
            assert only.value is True, f"{path}:{call.lineno}"
        unpickles = owner in _UNPICKLERS and name in ("load", "loads", "Unpickler")
        assert not unpickles or (path.parent.name, path.name) in {("train", name) for name in _PIPES}, f"{path}:{call.lineno}"
        assert not (owner in ("np", "numpy") and name == "load" and "allow_pickle" in words), f"{path}:{call.lineno}"
    assert loaded >= 2, "the check looks at what it is meant to"
