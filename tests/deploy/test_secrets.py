"""No secret lies in the repository: what has the form of one is found, in every file that is under version control."""

from __future__ import annotations

import re
import subprocess

import pytest

from deploy.reference import ROOT

FORMS = {
    "a private key": r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s+[A-Za-z0-9+/]{20}",
    "a key of Hone": r"hone_[0-9a-f]{12}_[A-Za-z0-9_-]{43}",
    "a key of AWS": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a token of GitHub": r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60,})",
    "a token of Hugging Face": r"\bhf_[A-Za-z0-9]{34}\b",
    "a token of Slack": r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
    "a token of PyPI": r"\bpypi-[A-Za-z0-9_-]{50,}",
    "a key of a model's provider": r"\bsk-[A-Za-z0-9_-]{32,}",
    "a JSON web token": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    "a password in an address": r"\b[a-z][a-z0-9+.-]*://[^\s:/@\"'{}<>$…]+:[^\s/@\"'{}<>$…]{3,}@",
}
# Passwords in addresses that open nothing: tests and examples of what must not be shown.
EXAMPLES = re.compile(r"secret|password|hunter2|:x+@|user:|:p4ss")


def _found(text: str) -> list[str]:
    return [name for name, form in FORMS.items() for hit in re.finditer(form, text) if not EXAMPLES.search(hit[0])]


def test_the_repository_holds_no_secret() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    found = {}
    for name in filter(None, listed):
        path = ROOT / name
        if path.is_file() and (hits := _found(path.read_bytes().decode("utf-8", "replace"))):
            found[name] = hits
    assert len(listed) > 300
    assert found == {}


@pytest.mark.parametrize(
    "planted",
    [
        "-----BEGIN RSA PRIVATE KEY-----\n" + "M" * 40,
        "hone_" + "a" * 12 + "_" + "B" * 43,
        "AKIA" + "A" * 16,
        "gh" + "p_" + "a" * 36,
        "postgresql://hone:" + "Tr0ub4dor@db/hone",
    ],
)
def test_a_planted_one_is_found(planted: str) -> None:
    assert len(_found(f"x = '{planted}'")) == 1
