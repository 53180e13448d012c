"""The engines a GPU can run, without a service around them: texts per second, latency, and share of what the card can do.

::

    python -m load_tests.gpu_engine
    python -m load_tests.gpu_engine --onnx <bundle>/encoder/onnx/fp32.onnx --out results/gpu
    python -m load_tests.gpu_engine --device cpu --batches 1 8 --seconds 0.2     (shows that it works, nothing else)

Needs torch, transformers and numpy only, so that it runs on a bare machine. The encoder has MiniLM-L6's shape and random
weights unless --encoder names a folder in Hugging Face layout: what a product costs does not depend on its numbers. Texts have
the lengths of BANKING77's test texts. A batch is timed from token ids in host memory to embeddings in host memory. The share is
that of the products an answer needs, padding not counted, in the bf16 matrix peak measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, BertConfig, BertModel

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# Quantiles 0, 5, …, 100% of the tokens of BANKING77's test texts, the two special ones included.
LENGTH_QUANTILES = (4, 8, 9, 10, 10, 11, 11, 11, 12, 12, 13, 14, 14, 15, 15, 16, 18, 20, 23, 31, 82)

IntMatrix = NDArray[np.int64]
# Token ids and mask (n, longest) to embeddings (n, h), all in host memory.
Engine = Callable[[IntMatrix, IntMatrix], NDArray[np.float32]]


@dataclass(frozen=True)
class Shape:
    """What the arithmetic of an encoder depends on."""

    layers: int
    hidden: int
    inner: int

    def flop(self, tokens: int) -> float:
        """Return the floating-point operations of the matrix products for one text of ``tokens`` tokens.

        Four projections and two products of the feed-forward part per token, two products of attention per pair of tokens.

        >>> Shape(6, 384, 1536).flop(1) / 1e6
        21.24288
        """
        per_token = 2 * (4 * self.hidden**2 + 2 * self.hidden * self.inner)
        return float(self.layers * tokens * (per_token + 4 * self.hidden * tokens))


def lengths(count: int, seed: int = 0) -> list[int]:
    """Return the lengths of ``count`` texts, drawn from those of BANKING77."""
    shares = np.random.default_rng(seed).random(count)
    drawn = np.interp(shares, np.linspace(0, 1, len(LENGTH_QUANTILES)), LENGTH_QUANTILES)
    return [round(length) for length in drawn.tolist()]


def batches(texts: Sequence[int], size: int, vocabulary: int) -> list[tuple[IntMatrix, IntMatrix]]:
    """Return random texts of the given lengths in batches of ``size`` neighbours by length, as a busy service forms them."""
    random = np.random.default_rng(1)
    made = []
    ordered = sorted(texts)
    for start in range(0, len(ordered) - size + 1, size):
        own = np.array(ordered[start : start + size])
        mask = (np.arange(own.max()) < own[:, None]).astype(np.int64)
        made.append((random.integers(1000, vocabulary, mask.shape) * mask, mask))
    return made


def load_encoder(folder: Path | None) -> Any:
    """Return the torch encoder in ``folder``, or one of MiniLM-L6's shape."""
    if folder is not None:
        return AutoModel.from_pretrained(folder)
    config = BertConfig(vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
    return BertModel(config, add_pooling_layer=False)


def torch_engine(model: Any, device: str) -> Engine:
    """Return ``model`` in bf16 on ``device``, mean-pooled as Hone does."""
    model = model.to(device=device, dtype=torch.bfloat16).eval()

    @torch.inference_mode()
    def embed(ids: IntMatrix, mask: IntMatrix) -> NDArray[np.float32]:
        on_device = torch.from_numpy(mask).to(device)
        hidden = model(input_ids=torch.from_numpy(ids).to(device), attention_mask=on_device).last_hidden_state
        weight = on_device.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * weight).sum(1) / weight.sum(1)
        embedding: NDArray[np.float32] = torch.nn.functional.normalize(pooled.float(), dim=1).cpu().numpy()
        return embedding

    return embed


def onnx_engine(path: Path) -> Engine:
    """Return a bundle's fp32 ``path`` as fp16 on ONNX Runtime's CUDA provider.

    Raises:
        RuntimeError: this ONNX Runtime cannot run on the GPU.
    """
    import onnx
    import onnxruntime as ort
    from onnxruntime.transformers.float16 import convert_float_to_float16

    if "CUDAExecutionProvider" not in ort.get_available_providers():
        raise RuntimeError("this ONNX Runtime has no CUDA provider")
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        onnx.save(convert_float_to_float16(onnx.load(path), keep_io_types=True), file.name)
        session = ort.InferenceSession(file.name, providers=["CUDAExecutionProvider"])
    if session.get_providers()[0] != "CUDAExecutionProvider":
        raise RuntimeError("ONNX Runtime fell back to the CPU")

    def embed(ids: IntMatrix, mask: IntMatrix) -> NDArray[np.float32]:
        (embedding,) = session.run(["embedding"], {"input_ids": ids, "attention_mask": mask})
        return np.asarray(embedding)

    return embed


def measure(engine: Engine, work: Sequence[tuple[IntMatrix, IntMatrix]], shape: Shape, seconds: float) -> dict[str, float]:
    """Return texts per second, p50 and p99 of a batch in milliseconds, and TFLOP/s; every length is run once beforehand."""
    for ids, mask in work:
        engine(ids, mask)
    taken: list[float] = []
    texts = 0
    flop = 0.0
    began = perf_counter()
    while perf_counter() - began < seconds or len(taken) < len(work):
        ids, mask = work[len(taken) * 7919 % len(work)]
        started = perf_counter()
        engine(ids, mask)
        taken.append(perf_counter() - started)
        texts += len(ids)
        flop += sum(shape.flop(tokens) for tokens in mask.sum(axis=1).tolist())
    busy_s = sum(taken)
    p50, p99 = (1e3 * float(np.percentile(taken, share)) for share in (50, 99))
    return {"texts_per_s": texts / busy_s, "p50_ms": p50, "p99_ms": p99, "tflop_per_s": flop / busy_s / 1e12}


def matmul_peak(device: str, size: int) -> float:
    """Return the TFLOP/s that a bf16 product of two square matrices of random numbers reaches on ``device``."""
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = 0.0
    for _ in range(5):
        _synchronize(device)
        started = perf_counter()
        for _ in range(5):
            left @ right
        _synchronize(device)
        best = max(best, 5 * 2 * size**3 / (perf_counter() - started) / 1e12)
    return best


def _synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> int:
    """Measure, print a table, and write it as JSON where --out says so."""
    options = _options()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("torch sees no CUDA device here; --device cpu shows that the script works", file=sys.stderr)
        return 2
    model = load_encoder(options.encoder)
    config = model.config
    shape = Shape(config.num_hidden_layers, config.hidden_size, config.intermediate_size)
    cuda = options.device == "cuda"
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if cuda else "CPU",
        "torch": torch.__version__,
        "bf16_matmul_tflop_per_s": matmul_peak(options.device, 8192 if cuda else 1024),
        "engines": {},
    }
    engines: dict[str, Callable[[], Engine]] = {"torch bf16": lambda: torch_engine(model, options.device)}
    if cuda and options.onnx is not None:
        engines["ONNX Runtime CUDA fp16"] = lambda: onnx_engine(options.onnx)
    texts = lengths(max(2048, 8 * max(options.batches)))
    for name, make in engines.items():
        try:
            engine = make()
        except (ImportError, RuntimeError) as error:
            found["engines"][name] = {"not measured": str(error)}
            continue
        found["engines"][name] = {
            size: measure(engine, batches(texts, size, config.vocab_size)[: options.most_batches], shape, options.seconds)
            for size in options.batches
        }
    print(_table(found))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "gpu_engine.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    return 0


def _table(found: dict[str, Any]) -> str:
    peak = found["bf16_matmul_tflop_per_s"]
    lines = [f"{found['device']}, torch {found['torch']}, bf16 matrix product {peak:.1f} TFLOP/s"]
    for name, by_batch in found["engines"].items():
        lines.append(name)
        if "not measured" in by_batch:
            lines.append(f"  not measured: {by_batch['not measured']}")
            continue
        lines.append(f"  {'batch':>6}{'texts/s':>12}{'p50 ms':>10}{'p99 ms':>10}{'of peak':>10}")
        for size, own in by_batch.items():
            share = own["tflop_per_s"] / peak
            lines.append(f"  {size:>6}{own['texts_per_s']:>12.0f}{own['p50_ms']:>10.2f}{own['p99_ms']:>10.2f}{share:>10.2%}")
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the engines a GPU can run.")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--encoder", type=Path, help="folder of an encoder in Hugging Face layout")
    parser.add_argument("--onnx", type=Path, help="a bundle's fp32 engine file, to be run as fp16 on ONNX Runtime")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--seconds", type=float, default=3.0, help="per engine and batch size")
    parser.add_argument("--most-batches", type=int, default=256, help="different batches of each size")
    parser.add_argument("--out", type=Path, help="folder for gpu_engine.json")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
