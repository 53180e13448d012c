"""Documentation that cannot rot: generated parts are in step, examples are what the service takes and gives."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from pydantic import BaseModel

import core.run_bodies
import core.schemas
from core.errors import HoneError
from core.metric_catalogue import CATALOGUE
from core.settings import Settings
from deploy.cli import app
from deploy.reference import ROOT, render
from deploy.stack.learner import settings_environment
from serve.app import build_app
from serve.parts import assemble
from serve.statuses import STATUSES

README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"<!-- schema: (\w+) -->\n```json\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize(("path", "text"), render().items(), ids=lambda value: value.name if isinstance(value, Path) else "")
def test_what_is_generated_is_in_step(path: Path, text: str) -> None:
    assert path.read_text(encoding="utf-8") == text, "run: make reference"


def test_a_readme_without_its_markers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Hone\n")
    with pytest.raises(ValueError, match="settings"):
        render(tmp_path)


def test_every_setting_says_what_it_means() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
    for variable in settings_environment(Settings()):
        assert f"`{variable}`" in README


def test_every_error_has_a_code_of_its_own_and_a_meaning() -> None:
    kinds = [HoneError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    assert len({kind.code for kind in kinds}) == len(kinds)
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    for kind in kinds:
        assert f"`{kind.code}`" in page
        assert kind.__doc__
    assert set(STATUSES) <= set(kinds)


def test_every_metric_is_documented() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert all(f"`{metric.name}`" in page for metric in CATALOGUE)


@pytest.mark.parametrize(("schema", "body"), EXAMPLE.findall(README))
def test_the_examples_of_the_readme_are_valid(schema: str, body: str) -> None:
    module = core.schemas if hasattr(core.schemas, schema) else core.run_bodies
    model: type[BaseModel] = getattr(module, schema)
    model.model_validate_json(body)


def test_the_readme_has_an_example_of_every_body_of_the_loop() -> None:
    shown = {schema for schema, _ in EXAMPLE.findall(README)}
    assert shown >= {"PredictRequest", "PredictionAnswer", "PredictionsAnswer", "CorrectionRequest", "ErrorAnswer"}


def test_the_readme_names_every_command() -> None:
    for command in app.registered_commands:
        name = command.name or (command.callback.__name__ if command.callback else "")
        assert f"`hone {name}" in README, name


async def test_the_routes_of_the_readme_exist(settings: Settings) -> None:
    parts = assemble(settings, None, "replica-1")
    transport = httpx.ASGITransport(build_app(parts))
    async with httpx.AsyncClient(transport=transport, base_url="http://hone") as http:
        paths = set((await http.get("/openapi.json")).json()["paths"])
    await parts.batcher.close()
    parts.store.close()
    parts.log_store.close()
    table = README.split("| route | for |")[1].split("\n\n")[0]
    named = set(re.findall(r"`(?:GET |POST |DELETE )?(/[a-z0-9/{}]+)`", table))
    assert named
    assert named <= {path.replace("{run_id}", "{id}") for path in paths}


def test_links_within_the_documentation_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} → {target}"


def test_the_tests_that_the_architecture_names_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page)
    assert named
    for path, name in named:
        source = (ROOT / path).read_text(encoding="utf-8")
        assert not name or f"def {name}(" in source, f"{path}::{name}"
