"""The image and the compose file, as far as they can be held to account without an engine to build and run them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from core.settings import Settings
from deploy.reference import ROOT
from deploy.stack.learner import settings_environment

DOCKER = ROOT / "deploy" / "docker"
FILES = ["Dockerfile", "Dockerfile.gpu"]
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
SCHEMA = Path(__file__).parent / "schemas" / "compose-spec.json"


def _instructions(name: str) -> Iterator[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", (DOCKER / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    for line in filter(str.strip, re.sub(r"\\\n\s*", "", text).splitlines()):
        keyword, _, rest = line.partition(" ")
        yield keyword, rest


def _copied(name: str) -> list[str]:
    rests = [rest for keyword, rest in _instructions(name) if keyword == "COPY" and "--from" not in rest]
    return [word for rest in rests for word in rest.split()[:-1]]


@pytest.mark.parametrize("name", FILES)
def test_the_linter_has_nothing_to_say(name: str) -> None:
    program = shutil.which("hadolint") or str(Path(sys.executable).parent / "hadolint")
    if not Path(program).exists():
        pytest.skip("hadolint is not installed")
    done = subprocess.run([program, "--no-color", str(DOCKER / name)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", FILES)
def test_an_image_is_small_pinned_unprivileged_and_says_whether_it_is_well(name: str) -> None:
    instructions = list(_instructions(name))
    last_stage = instructions[max(at for at, (keyword, _) in enumerate(instructions) if keyword == "FROM") :]
    keywords = [keyword for keyword, _ in last_stage]
    # No compiler, no source and no installer's leavings reach the last stage: it copies one folder.
    assert [rest for keyword, rest in last_stage if keyword == "COPY"] == ["--from=build /opt/hone /opt/hone"]
    assert [rest for keyword, rest in last_stage if keyword == "USER"] == ["10001:10001"]
    assert {"HEALTHCHECK", "STOPSIGNAL", "EXPOSE", "VOLUME"} <= set(keywords)
    installs = [rest for keyword, rest in instructions if keyword == "RUN" and "pip install" in rest]
    assert installs
    # Of every file that is fetched the hash is known, torch's excepted, whose version is pinned.
    steps = [step for part in installs for step in part.split("&&") if "pip install" in step]
    assert all(any(how in step for how in ("--require-hashes", "torch", "--no-build-isolation .")) for step in steps)
    assert sum("--require-hashes --no-deps -r requirements.lock" in step for step in steps) == 1
    assert all("constraints.txt" in part for part in installs if "torch" in part)


@pytest.mark.parametrize("name", FILES)
def test_an_image_gets_nothing_but_what_the_package_needs(name: str) -> None:
    copied = {
        word
        for keyword, rest in _instructions(name)
        if keyword == "COPY" and "--from" not in rest
        for word in rest.split()[:-1]
    }
    assert all((ROOT / part).exists() for part in copied)
    listed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    # What lies in a folder that is copied anyhow needs no line of its own.
    assert {line[1:] for line in listed if line.startswith("!")} == {part for part in copied if not part.startswith("deploy/")}
    assert "deploy/docker/secrets" in listed


@pytest.mark.parametrize("name", FILES)
def test_the_variables_of_an_image_are_settings(name: str) -> None:
    known = set(settings_environment(Settings()))
    text = (DOCKER / name).read_text(encoding="utf-8") + (DOCKER / "compose.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"\bHONE_[A-Z_]+\b", text)) <= known


def test_the_health_check_is_a_program_that_tells_well_from_ill() -> None:
    (health,) = [rest for keyword, rest in _instructions("Dockerfile") if keyword == "HEALTHCHECK"]
    command = json.loads(health.partition("CMD ")[2])
    asked = subprocess.run([sys.executable, *command[1:]], env={"HONE_PORT": "9"}, capture_output=True, check=False)
    assert asked.returncode != 0
    assert b"Connection refused" in asked.stderr


@pytest.mark.integration
def test_what_the_image_copies_makes_a_package_that_works_elsewhere(tmp_path: Path) -> None:
    source, built, installed = tmp_path / "src", tmp_path / "dist", tmp_path / "installed"
    source.mkdir()
    for part in _copied("Dockerfile"):
        if (ROOT / part).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "secrets")
            shutil.copytree(ROOT / part, source / part, ignore=ignored, dirs_exist_ok=True)
        else:
            (source / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / part, source / part)
    build = "from setuptools import build_meta; build_meta.build_wheel(__import__('sys').argv[1])"
    made = subprocess.run([sys.executable, "-c", build, str(built)], cwd=source, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(installed)
        names = set(packed.namelist())
    assert {
        "train/data/reviews.csv",
        "serve/console/index.html",
        "serve/console/vendor/uplot/LICENSE",
        "serve/console/vendor/uplot/package.json",
        "serve/console/vendor/uplot/uPlot.iife.min.js",
        "serve/console/vendor/uplot/uPlot.min.css",
        "feedback/migrations/versions/0001_store_of_record.py",
    } <= names
    assert not [name for name in names if name.startswith(("tests/", "load_tests/")) or "secrets/" in name]
    code = (
        f"import sys; sys.path.insert(0, {str(installed)!r}); "
        "import deploy.cli, serve.app, train.learner; print(deploy.cli.__file__); deploy.cli.main()"
    )
    environment = {
        "PYTHONPATH": str(installed),
        "HONE_HOME": str(tmp_path / "home"),
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
    }
    # `-P` keeps the present folder out, so that nothing of the repository is found by chance.
    shown = subprocess.run(
        [sys.executable, "-P", "-c", code, "keys", "create", "--role", "predict", "--name", "x"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines()[0].startswith(str(installed))
    assert "hone_" in shown.stdout


def test_the_compose_file_keeps_to_its_schema() -> None:
    jsonschema.validate(COMPOSE, json.loads(SCHEMA.read_text(encoding="utf-8")))


def test_what_the_compose_file_names_exists() -> None:
    services = COMPOSE["services"]
    for name, service in services.items():
        for volume in service.get("volumes", ()):
            place = volume.split(":")[0]
            assert place in COMPOSE["volumes"] if not place.startswith(".") else (DOCKER / place).exists(), f"{name}: {place}"
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"])
        assert set(service.get("depends_on", ())) <= set(services)
        assert service["image"].rpartition(":")[2] not in ("", "latest"), name
    build = services["hone"]["build"]
    assert (DOCKER / build["context"] / build["dockerfile"]).exists()


def test_hone_runs_without_rights_and_alone_is_reached_from_elsewhere() -> None:
    hone = COMPOSE["services"]["hone"]
    assert hone["read_only"] is True
    assert hone["cap_drop"] == ["ALL"]
    assert hone["security_opt"] == ["no-new-privileges:true"]
    for name, service in COMPOSE["services"].items():
        for port in service.get("ports", ()):
            assert name == "hone" or port.startswith("127.0.0.1:"), name
        words = " ".join(map(str, service.get("environment", {}).values()))
        assert not re.search(r"://[^ ]*:[^ ]*@", words)
    assert "ports" not in COMPOSE["services"]["postgres"]


def test_prometheus_takes_its_configuration_and_scrapes_and_alerts_who_is_there(tmp_path: Path) -> None:
    made: dict[str, Any] = yaml.safe_load((DOCKER / "prometheus.yml").read_text(encoding="utf-8"))
    here: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    assert made["global"] == here["global"]
    assert made["scrape_configs"][0]["static_configs"][0]["labels"] == here["scrape_configs"][0]["static_configs"][0]["labels"]
    targets = [target for job in made["scrape_configs"] for group in job["static_configs"] for target in group["targets"]]
    targets += made["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    assert {target.partition(":")[0] for target in targets} <= set(COMPOSE["services"])
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed")
    shutil.copy(DOCKER / "prometheus.yml", tmp_path)
    shutil.copy(ROOT / "deploy" / "prometheus" / "rules.yml", tmp_path)
    command = [program, "check", "config", "--syntax-only", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_severity_of_an_alert_has_a_receiver() -> None:
    alertmanager: dict[str, Any] = yaml.safe_load((DOCKER / "alertmanager.yml").read_text(encoding="utf-8"))
    rules: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text(encoding="utf-8"))
    severities = {rule["labels"]["severity"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    assert severities == {receiver["name"] for receiver in alertmanager["receivers"]}
    assert alertmanager["route"]["receiver"] in severities
