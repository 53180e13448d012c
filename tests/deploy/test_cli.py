"""The command line itself: help, wrong usage, errors, weight."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from core.settings import Settings
from deploy.cli import app, main
from tests.deploy.conftest import RunHone

COMMANDS = [
    ["up"],
    ["train"],
    ["predict"],
    ["evaluate"],
    ["correct"],
    ["learn"],
    ["simulate"],
    ["models", "list"],
    ["models", "show"],
    ["models", "promote"],
    ["models", "report"],
    ["models", "approve"],
    ["models", "reject"],
    ["models", "rollback"],
    ["backup"],
    ["restore"],
    ["status"],
    ["doctor"],
]


def test_the_help_lists_every_command(hone: RunHone) -> None:
    shown = hone("--help").stdout
    assert all(command[0] in shown for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_help_of_a_command_has_an_example(hone: RunHone, command: list[str]) -> None:
    result = hone(*command, "--help")
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert "hone " in result.stdout.split("Example", 1)[1]


def test_the_help_loads_no_heavy_library() -> None:
    heavy = {"torch", "ray", "transformers", "onnxruntime", "scipy", "sklearn", "pandas", "httpx", "fastapi"}
    code = f"import sys, deploy.cli; print(sorted({heavy} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


def test_wrong_usage_ends_with_2(hone: RunHone) -> None:
    assert hone("predict", "--top-k", "0", "x").exit_code == 2
    assert hone("fly").exit_code == 2
    assert hone("correct", "positive").exit_code == 2
    assert hone("correct", "positive", "--id", "p_1", "--text", "x").exit_code == 2


def test_a_setting_that_is_not_allowed_is_named() -> None:
    result = CliRunner().invoke(app, ["status"], env={"HONE_REPLICAS": "many"})
    assert result.exit_code == 2
    assert "HONE_REPLICAS" in result.stderr
    assert "valid integer" in result.stderr


def test_home_and_port_can_be_given_on_the_command_line(hone: RunHone, settings: Settings) -> None:
    result = hone("--port", "65000", "--home", str(settings.home.root / "other"), "status", "--json")
    assert "65000" in result.stdout
    assert (settings.home.root / "other" / "registry").is_dir()


def test_an_error_is_one_sentence_on_standard_error(hone: RunHone) -> None:
    result = hone("predict", "anything")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("hone: there is no model in ")
    assert result.stderr.count("\n") == 1


def test_an_unforeseen_error_is_told_without_its_message(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ValueError("a user's text")

    with pytest.raises(SystemExit) as ended:
        main(fail)
    shown = capsys.readouterr().err
    assert ended.value.code == 1
    assert "ValueError in test_cli.py" in shown
    assert "a user's text" not in shown
