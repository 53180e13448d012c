"""A real Prometheus scrapes a live Hone: all queries of panels and rules return data, or are named as rightly empty."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from core.metric_catalogue import LABELS
from core.registry import Registry
from core.settings import Settings
from deploy.reference import ROOT
from deploy.stack.learner import settings_environment
from deploy.watching.alerting import alerts
from deploy.watching.dashboards import DASHBOARDS
from deploy.watching.panels import expressions, to_json
from deploy.watching.recording import records
from deploy.watching.rules import rule_file
from tests.ports import free_port

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

# Whether the probation has compared the versions yet is up to chance.
PERHAPS_EMPTY = ("hone_probation_evidence_ratio", "hone_shadow_agreement_ratio")
# What this traffic does not bring about, and why its series stay empty.
RIGHTLY_EMPTY = {
    "hone_version_failures_total": "no engine fails",
    "hone_gpu_": "there is no GPU",
    "hone:padding:ratio_rate5m": "n-grams read no tokens",
    "hone_truncated_total": "n-grams read texts whole",
    "hone_challenger_info": "there is no challenger",
    "hone_drift_": "a window of drift has hundreds of texts",
    "hone_estimated_accuracy_ratio": "a window of drift has hundreds of texts",
    "hone_audited_": "nobody has labelled the audit's sample",
    "hone_accuracy_gap_ratio": "nobody has labelled the audit's sample",
    'hone_runs_total{state="failed"}': "no run fails",
    "hone_memory_evicted_total": "the memory is not full",
    'status=~"5.."': "no request ends in a server error",
}
_REPLICA = """
import asyncio, sys, uvicorn
from pathlib import Path
from core.settings import Settings
from serve.app import build_app
from serve.parts import assemble
settings = Settings()
parts = assemble(settings, settings.home.metrics, sys.argv[1])
uvicorn.run(build_app(parts), port=int(sys.argv[2]), log_level="error")
"""
_LEARNER = """
from core.metrics import Metrics
from core.process_metrics import ProcessMetrics
from core.settings import Settings
from feedback.store import Store
from train.job import fit_here
from train.learner import Learner
from train.progress import silent
settings, metrics = Settings(), Metrics()
with ProcessMetrics(metrics, "learner").kept():
    Learner(settings, Store.of(settings), lambda job: fit_here(job, silent, lambda: False), metrics).run()
"""
_TEXTS = ("Great phone, I love it", "It broke after a day", "这是一个非常好的产品", "Fine")


@contextmanager
def process(command: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``command`` inside the block."""
    with log.open("wb") as out:
        started = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out)
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(15)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def until(holds: Callable[[], object], within_s: float = 60.0) -> None:
    """Return when ``holds`` does."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if holds():
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise AssertionError("it did not come about")


class Watched:
    """Two replicas and a learner that share a folder of metrics, and the Prometheus that watches them."""

    def __init__(self, hone: list[httpx.Client], prometheus: httpx.Client, settings: Settings) -> None:
        self.hone = hone
        self.prometheus = prometheus
        self.settings = settings
        self.sent = 0

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an expression, without those that are no number."""
        answer = self.prometheus.get("/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", (expression, answer)
        return [item for item in answer["data"]["result"] if not math.isnan(float(item["value"][1]))]

    def ask(self) -> str:
        """Send a round of requests of every kind, and return a prediction's id."""
        first = ""
        for replica in self.hone:
            answer = replica.post("/v1/predict", json={"texts": list(_TEXTS), "min_score": 0.999}).raise_for_status().json()
            first = answer["predictions"][0]["prediction_id"]
            replica.post("/v1/predict", json={"text": "good " * 3_000}).raise_for_status()
            replica.post("/hf", json={"inputs": "good"}).raise_for_status()
            replica.post("/predict", json={"inputs": "good"}).raise_for_status()
            assert replica.post("/v1/predict", json={"text": 1}).status_code == 400
            assert replica.get("/nowhere").status_code == 404
            self.sent += 4
        return first


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Give a live Hone after traffic, corrections, a run and a swap, as a Prometheus has seen it."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("Prometheus is not installed")
    folder = tmp_path_factory.mktemp("watched")
    settings = Settings.model_validate({"HONE_HOME": folder / "home", "swap_poll_s": 0.1, "learn_after_corrections": 0})
    settings.home.prepare()
    environment = {**os.environ, **settings_environment(settings)}
    _teach(folder, environment)
    environment["PROMETHEUS_MULTIPROC_DIR"] = str(settings.home.metrics)
    with ExitStack() as stack:
        clients = []
        for number in (1, 2):
            port = free_port()
            command = [sys.executable, "-c", _REPLICA, f"replica-{number}", str(port)]
            stack.enter_context(process(command, environment, folder / f"replica-{number}.log"))
            clients.append(stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)))
        learner = [sys.executable, "-c", _LEARNER]
        stack.enter_context(process(learner, environment, folder / "learner.log"))
        prometheus = stack.enter_context(_prometheus(program, folder, settings, str(clients[0].base_url.netloc, "ascii")))
        for client in clients:
            until(partial(_is_ready, client))
        seen = Watched(clients, prometheus, settings)
        _live(seen)
        yield seen


def _teach(folder: Path, environment: dict[str, str]) -> None:
    """Teach a first version from a part of the sample data, which takes a second."""
    head, *rows = (ROOT / "train" / "data" / "reviews.csv").read_text(encoding="utf-8").splitlines()
    data = folder / "reviews.csv"
    data.write_text("\n".join([head, *rows[::4]]), encoding="utf-8")
    command = [sys.executable, "-c", "from deploy.cli import main; main()", "train", "--data", str(data)]
    manner = ["--features", "ngrams", "--speed", "head"]
    subprocess.run([*command, *manner], cwd=ROOT, env=environment, check=True, capture_output=True)


def _is_ready(replica: httpx.Client) -> bool:
    return replica.get("/readyz").status_code == httpx.codes.OK


def _is_taken(replica: httpx.Client, correction: dict[str, str]) -> bool:
    return replica.post("/v1/corrections", json=correction).status_code == httpx.codes.CREATED


@contextmanager
def _prometheus(program: str, folder: Path, settings: Settings, target: str) -> Iterator[httpx.Client]:
    (folder / "rules.yml").write_text(rule_file(settings.objectives))
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "discovery.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    discovery = {"url": f"http://{target}/v1/metrics/targets", "refresh_interval": "1s"}
    config["scrape_configs"][0]["http_sd_configs"] = [discovery]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = [
        program,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/tsdb",
        f"--web.listen-address={address}",
    ]
    with process(command, dict(os.environ), folder / "prometheus.log"), httpx.Client(base_url=f"http://{address}") as client:
        until(lambda: client.get("/-/ready").status_code == 200)
        yield client


def _live(seen: Watched) -> None:
    """Live through what a Hone lives through: questions, corrections, a confirmation, a run, a swap."""
    one = seen.hone[0]
    # Discovery takes a few seconds, and of what happens before the first scrape there is no rate.
    until(lambda: seen.query("hone_load_seconds_count"))
    prediction = seen.ask()
    until(lambda: one.get("/v1/status").json()["predictions"]["written"] > 0)
    said = one.post("/v1/predict", json={"text": "Great phone"}).json()
    seen.sent += 1
    for body in (
        {"prediction_id": prediction, "label": "negative"},
        {"text": "A phone like any other", "label": "positive"},
        {"prediction_id": said["prediction_id"], "label": said["label"]},
    ):
        until(partial(_is_taken, one, body))
    assert one.post("/v1/corrections", json={"prediction_id": "p_unknown", "label": "positive"}).status_code == 404
    run = one.post("/v1/runs", json={"speed": "head"}).raise_for_status().json()
    until(lambda: seen.ask() and one.get(f"/v1/runs/{run['run_id']}").json()["state"] == "succeeded", 120)
    versions = Registry(seen.settings.home.registry).versions()
    assert len(versions) == 2
    # Whatever the gate made of it: one swap forth or back.
    champion = one.get("/v1/status").json()["model_version"]
    other = next(version for version in versions if version != champion)
    one.post(f"/v1/models/{other}/promote", json={"why": "a test", "override": True})
    until(lambda: seen.ask() and one.get("/v1/status").json()["model_version"] == other)
    # Rates want several scrapes of everything, and the gauges from the store come every few seconds.
    until(lambda: seen.ask() and seen.query("hone_labelled") and seen.query("hone:requests:rate5m"), 60)
    until(lambda: seen.ask() and len(seen.query("hone_swaps_total{outcome='swapped'} > 0")) > 0)
    for _ in range(3):
        seen.ask()
        time.sleep(1.0)


def _is_rightly_empty(expression: str) -> bool:
    return any(part in expression for part in (*RIGHTLY_EMPTY, *PERHAPS_EMPTY))


def test_every_query_of_every_panel_returns_data(watched: Watched) -> None:
    empty = []
    for dashboard in DASHBOARDS:
        for written in expressions(to_json(dashboard)):
            expression = re.sub(r"\$(deployment|model|version)", ".*", written).replace("$__rate_interval", "2m")
            if not watched.query(expression) and not _is_rightly_empty(expression) and "changes(" not in expression:
                empty.append(f"{dashboard.uid}: {expression}")
    assert empty == []


def test_every_rule_works_and_every_series_an_alert_looks_at_is_there(watched: Watched) -> None:
    groups = watched.prometheus.get("/api/v1/rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}
    objectives = watched.settings.objectives
    assert len(rules) == len(records(objectives)) + len(alerts(objectives))
    missing = [item.name for item in records(objectives) if not watched.query(item.name) and not _is_rightly_empty(item.name)]
    looked_at = {
        selector
        for alert in alerts(objectives)
        for selector in re.findall(r"\b(?:hone[_:][a-z_:0-9]+|up)(?:\{[^}]*\})?", alert.expr)
    }
    missing += [item for item in sorted(looked_at) if not watched.query(item) and not _is_rightly_empty(item)]
    assert missing == []


def test_prometheus_scrapes_what_hone_told_it_to(watched: Watched) -> None:
    targets = watched.prometheus.get("/api/v1/targets").json()["data"]["activeTargets"]
    assert [(target["scrapePool"], target["health"]) for target in targets] == [("hone", "up")]
    assert targets[0]["scrapeUrl"] == f"{watched.hone[0].base_url}/metrics".replace("//metrics", "/metrics")
    assert targets[0]["labels"]["deployment"] == "hone"


def test_no_alert_fires_over_a_hone_that_is_well(watched: Watched) -> None:
    firing = watched.prometheus.get("/api/v1/alerts").json()["data"]["alerts"]
    assert [alert["labels"]["alertname"] for alert in firing if alert["state"] == "firing"] == []


def test_what_is_called_rightly_empty_is_empty(watched: Watched) -> None:
    whole = [part for part in RIGHTLY_EMPTY if re.fullmatch(r"\w+", part)]
    full = [part for part in whole if watched.query(f'{{__name__=~"{part}.*"}} != 0')]
    assert full == []


def test_what_both_replicas_counted_is_what_clients_sent(watched: Watched) -> None:
    for replica in watched.hone:
        lines = replica.get("/metrics").text.splitlines()
        counted = sum(
            float(line.rpartition(" ")[2])
            for line in lines
            if re.match(r'hone_requests_total\{route="/(v1/predict|hf|predict)",status="200"\}', line)
        )
        assert counted == watched.sent


def test_labels_hold_no_text_and_few_values(watched: Watched) -> None:
    values: dict[str, set[str]] = {}
    for series in watched.prometheus.get("/api/v1/series", params={"match[]": '{__name__=~"hone_.*"}'}).json()["data"]:
        for name, value in series.items():
            values.setdefault(name, set()).add(value)
    for name in LABELS.keys() & values.keys():
        assert len(values[name]) <= LABELS[name].most
    told = json.dumps({name: sorted(found) for name, found in values.items()}, ensure_ascii=False)
    assert not any(text in told for text in (*_TEXTS, "any other", "nowhere"))
