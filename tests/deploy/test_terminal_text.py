"""Texts come from strangers, and a terminal obeys some of them."""

from __future__ import annotations

import re

import pytest

from deploy.cli.show import fail, note, say, show_json, show_table

COMMANDS = {
    "a title": "\x1b]0;owned\x07",
    "the clipboard": "\x1b]52;c;ZXZpbA==\x07",
    "a cleared screen": "\x1b[2J\x1b[H",
    "an eight-bit sequence": "\x9b2J",
    "an overwritten line": "fine\rbad\x08\x08\x08",
    "reversed text": "\u202egnihton",
    "a bell": "\x07",
}


@pytest.mark.parametrize("text", COMMANDS.values(), ids=COMMANDS)
def test_no_text_commands_the_terminal(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(f"a {text} b")
    note(f"a {text} b")
    fail(f"a {text} b")
    show_table(["text"], [[f"a {text} b"]], title=f"of {text}")
    show_json({"text": f"a {text} b"})
    shown = "".join(capsys.readouterr())
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    assert shown.count(" b") >= 4


def test_other_languages_and_lines_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    say("这是\n第二行 😀 [bold] é")
    assert capsys.readouterr().out == "这是\n第二行 😀 [bold] é\n"
