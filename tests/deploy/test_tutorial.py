"""The tutorial does what it says: its blocks are run against a stack as a user starts it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.reference import ROOT
from tests.e2e.stacks import running

PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
# What the test does in the reader's place is marked, and looked at here.
BLOCKS = re.findall(r"(?<!the test -->\n)```bash\n(.*?)```", PAGE, re.DOTALL)
_LIMIT_S = 420


def test_the_first_commands_of_the_tutorial_are_those_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r'^run:.*\n\t@HONE_HOME="\$\${HONE_HOME:-\$\(CURDIR\)/\.hone}" \$\(BIN\)/hone up$', makefile, re.MULTILINE)
    assert 'HONE_HOME="$PWD/.hone"' in PAGE
    assert len(BLOCKS) >= 7


@pytest.mark.integration
@pytest.mark.timeout(900)
def test_a_correction_is_answered_at_once_and_learned_afterwards(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    command = programs / "hone"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -c "from deploy.cli import main; main()" "$@"\n')
    command.chmod(0o755)
    # The reader says when to learn, so that what follows is one run and not two. Training gives way to nobody: on a machine
    # that others use as well it would wait for minutes.
    with running(tmp_path / "home", learn_after_corrections="0", learn_nice="0") as stack:
        environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HONE_HOME": str(tmp_path / "home"),
            "HONE_PORT": str(stack.port),
            "URL": stack.url,
        }
        script = "set -euo pipefail\n" + "\n".join(BLOCKS)
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    at_once = json.loads((tmp_path / "answer.json").read_text())
    assert (at_once["label"], at_once["source"]) == ("positive", "memory")
    learned = [json.loads(line) for line in (tmp_path / "learned.jsonl").read_text().splitlines()]
    assert [answer["label"] for answer in learned] == ["negative", "positive"], done.stdout
    assert {answer["model_version"] for answer in learned} == {"v2"}
