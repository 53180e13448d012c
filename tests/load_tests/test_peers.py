"""What Hone is compared with: how peers are asked, that they answer as the bundle does, and what becomes of the figures."""

from __future__ import annotations

import doctest
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file, save_file

from load_tests.baselines.model_folder import write_model
from load_tests.peers import wires
from load_tests.peers.catalogue import Launch, Peer, peers, requirement, variables
from load_tests.peers.environments import NotInstallable, PeerEnvironment, ensure_environment
from load_tests.peers.measuring import Plan, figures, measure_peer, running, told_to_end
from load_tests.peers.report import missed, plot, read_results, table, write_rounds
from load_tests.servers import Server
from tests.load_tests.rounds import summary
from tests.ports import free_port

# As each of them answers about two texts.
ANSWERS: list[tuple[wires.Wire, Any]] = [
    (wires.HONE, {"model_version": "v1", "predictions": [{"label": "a", "score": 0.9}, {"label": "b", "score": 0.8}]}),
    (wires.PIPELINE, [{"label": "a", "score": 0.9}, {"label": "b", "score": 0.8}]),
    (wires.LISTS, [{"label": "a", "score": 0.9}, {"label": "b", "score": 0.8}]),
    (wires.INFINITY, {"data": [[{"label": "b", "score": 0.1}, {"label": "a", "score": 0.9}], [{"label": "b", "score": 0.8}]]}),
    (wires.MLSERVER, {"outputs": [{"name": "label", "data": ["a", "b"]}, {"name": "score", "data": [0.9, 0.8]}]}),
    (wires.TRITON, {"outputs": [{"name": "score", "data": [0.9, 0.8]}, {"name": "label", "data": ["a", "b"]}]}),
]


@pytest.mark.parametrize(("wire", "answer"), ANSWERS)
def test_the_best_labels_are_read_out_of_every_format(wire: wires.Wire, answer: Any) -> None:
    assert wire.labels(answer) == ["a", "b"]
    body = wire.body(["one", "two"])
    assert json.loads(json.dumps(body)) == body
    assert "one" in json.dumps(body)


def test_a_single_text_is_asked_and_answered_too() -> None:
    assert wires.HONE.body(["one"]) == {"text": "one", "top_k": 1}
    assert wires.HONE.labels({"label": "a", "score": 0.9, "model_version": "v1"}) == ["a"]
    assert wires.MLSERVER.body(["one"])["inputs"][0]["shape"] == [1]
    assert wires.TRITON.body(["one"])["inputs"][0]["shape"] == [1, 1]


def test_every_peer_is_asked_for_by_name_and_gets_torch_in_the_range_of_this_project() -> None:
    known = peers()
    assert {"fastapi", "plain_ray", "litserve", "bentoml", "infinity", "mlserver", "triton"} == set(known)
    assert requirement("torch") in known["fastapi"].requirements
    launch = Launch(Path("/bundle"), Path("/model"), 8000, 2, 1, Path("/scratch"))
    for peer in known.values():
        command = peer.command(launch)
        assert "8000" in command, peer.name
        assert variables(peer, launch)["OMP_NUM_THREADS"] == "1"
        if any(part.startswith("load_tests.peers.servers.") for part in command):
            module = next(part for part in command if part.startswith("load_tests.peers.servers.")).split(":")[0]
            assert (Path(__file__).parents[2] / f"{module.replace('.', '/')}.py").exists()


def test_what_cannot_be_installed_is_left_out_with_the_reason_pip_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(NotInstallable, match="No matching distribution found for no-such-package-of-hone"):
        ensure_environment(tmp_path, "nobody", ["no-such-package-of-hone"])
    assert not (tmp_path / "nobody").exists()


def test_a_peer_that_comes_up_in_no_shape_is_left_out_and_an_order_to_end_is_obeyed(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Peer("broken", "Broken", "int8", (), wires.LISTS, lambda _: ["-c", "raise SystemExit(3)"])
    here = PeerEnvironment(Path(sys.executable), {})
    plan = Plan(tmp_path, [("good phone", "a")], 2, 0.1, 1)
    ours = Server("hone", "http://127.0.0.1:1", "/v1/predict", psutil.Process())
    with pytest.raises(SystemExit, match="broken ended before it answered"):
        measure_peer(ours, broken, here, (bundle, bundle), plan, tmp_path, print)
    assert capsys.readouterr().out.count("does not come up") == 2
    assert told_to_end(SystemExit(143))
    assert not told_to_end(SystemExit("broken ended before it answered"))


def test_an_environment_is_made_once_and_anew_when_something_else_is_asked_for(tmp_path: Path) -> None:
    assert ensure_environment(tmp_path, "nothing", ()).python == Path(sys.executable)
    folder = tmp_path / "kept"
    (folder / "bin").mkdir(parents=True)
    wanted = {"python": sys.version, "requirements": ["x"]}
    (folder / "requirements.json").write_text(json.dumps({"wanted": wanted, "versions": {"x": "1.0"}}))
    assert ensure_environment(tmp_path, "kept", ["x"]) == PeerEnvironment(folder / "bin" / "python", {"x": "1.0"})


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Give what a bundle with an encoder of its own has of weights, tokenizer and head."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel

    folder = tmp_path / "bundle"
    encoder = folder / "encoder"
    words = {word: place for place, word in enumerate(("[PAD]", "[UNK]", "good", "bad", "phone"))}
    config = BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, pad_token_id=0
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(encoder)
    unknown = "[UNK]"
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(encoder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512}
    (encoder / "tokenizer_config.json").write_text(json.dumps(settings))
    random = np.random.default_rng(0)
    weights = {"encoder.weight": random.normal(size=(8, 3)).astype(np.float32), "bias": np.zeros(3, np.float32)}
    save_file(weights, folder / "head.safetensors")
    manifest = {"labels": ["a", "b", "c"], "temperature": 0.5, "encoder": {"max_tokens": 4}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_the_pipeline_answers_what_the_bundle_answers(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from transformers import BertModel, pipeline

    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    ids = {"good phone": [2, 4], "bad": [3], "good bad phone good bad": [2, 3, 4, 2]}
    made: Any = pipeline("text-classification", model=str(write_model(bundle, tmp_path / "model")), trust_remote_code=True)
    found = made(list(ids), top_k=None, truncation=True, batch_size=3)
    head = load_file(bundle / "head.safetensors")
    encoder: Any = BertModel.from_pretrained(bundle / "encoder", add_pooling_layer=False)
    encoder.eval()
    for scores, tokens in zip(found, ids.values(), strict=True):
        with torch.no_grad():
            mean = encoder(torch.tensor([tokens])).last_hidden_state[0].mean(dim=0).numpy()
        logits = (mean / np.linalg.norm(mean) @ head["encoder.weight"] + head["bias"]) / 0.5
        expected = np.exp(logits) / np.exp(logits).sum()
        assert {row["label"]: row["score"] for row in scores} == pytest.approx(
            dict(zip("abc", expected.tolist(), strict=True)), abs=1e-5
        )


def _round(number: int, ours: float, theirs: float, batches: float = 20.0, failed: int = 0) -> dict[str, Any]:
    # A second of processor time in two of the clock.
    own = {
        "singles": summary(ours, failed=failed) | {"cpu_s": 1.0, "cpu_window_s": 2.0},
        "batches": summary(batches),
    }
    other = {"singles": summary(theirs) | {"cpu_s": 2.0, "cpu_window_s": 2.0}, "batches": summary(10.0)}
    return {"round": number, "load_average": 0.5, "hone": own, "peer": other}


def test_the_median_of_the_ratios_inside_rounds_counts() -> None:
    found = figures([_round(0, 400, 200), _round(1, 300, 100, failed=2), _round(2, 100, 100)])
    assert found == {"singles_ratio": 2.0, "batches_ratio": 2.0, "failed_requests": 2.0}


def test_results_of_several_runs_become_one_table_that_marks_what_was_missed(tmp_path: Path) -> None:
    rounds = [_round(0, 400, 200), _round(1, 130, 100, batches=9.0), _round(2, 120, 100, batches=8.0)]
    measured = {
        "peer": "litserve", "title": "LitServe", "engine": "int8", "workers": 1, "threads": 2, "package": "litserve",
        "versions": {"litserve": "0.2"}, "accuracy": {"rows": 320, "hone": 0.93, "peer": 0.931, "agreement_ratio": 0.99},
        "rounds": rounds, "figures": figures(rounds) | {"agreement_ratio": 0.99},
    }  # fmt: skip
    left_out = {"peer": "triton", "title": "Triton", "skipped": "it cannot be installed here: no"}
    for result in (left_out, measured):
        (tmp_path / f"{result['peer']}.json").write_text(json.dumps(result))
    results = read_results(tmp_path, ["litserve", "bentoml", "triton"])
    assert [result["peer"] for result in results] == ["litserve", "triton"]
    assert len(missed(measured)) == 2
    assert missed(left_out) == []
    shown = table(results)
    assert "LitServe 0.2" in shown
    assert "**1.30** (2.00, 1.30, 1.20) | 2.60 |" in shown, "half the processor time for as many answers is twice as good"
    assert "not measured: it cannot be installed here: no" in shown
    write_rounds(results, tmp_path / "peers.csv")
    assert len((tmp_path / "peers.csv").read_text().splitlines()) == 4
    plot(results, tmp_path / "peers.png")
    assert (tmp_path / "peers.png").read_bytes().startswith(b"\x89PNG")


def test_everybody_is_sent_the_same_texts_in_the_same_order(tmp_path: Path) -> None:
    plan = Plan(tmp_path, [(f"text {number}", "a") for number in range(64)], cores=2, duration_s=1.0, rounds=1)
    ours, theirs = (plan.bodies(wire, name, 32) for wire, name in ((wires.HONE, "hone"), (wires.TRITON, "triton")))
    sent = [json.loads(line)["texts"] for line in ours.read_text().splitlines()]
    assert [json.loads(line)["inputs"][0]["data"] for line in theirs.read_text().splitlines()] == sent
    assert len(sent) == 2


@pytest.mark.integration
def test_a_peer_that_ends_before_it_answers_is_said_to_have_ended(tmp_path: Path) -> None:
    peer = Peer("gone", "Gone", "int8", (), wires.LISTS, lambda _: ["-c", "raise SystemExit(3)"])
    launch = Launch(tmp_path, tmp_path, free_port(), 1, 1, tmp_path / "scratch")
    with (
        pytest.raises(SystemExit, match="gone ended before it answered"),
        running(peer, PeerEnvironment(Path(sys.executable), {}), launch, tmp_path),
    ):
        pass


@pytest.mark.parametrize("name", ["peers.catalogue", "peers.environments", "bench.figures"])
def test_the_examples_of_a_module_are_true(name: str) -> None:
    results = doctest.testmod(importlib.import_module(f"load_tests.{name}"))
    assert results.attempted > 0
    assert results.failed == 0
