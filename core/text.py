"""Cleaning text, and the two things that depend on it for ever: a text's key and its split.

Training and serving call the same :func:`clean`; its settings travel inside the bundle. :func:`text_key` does not depend on
those settings, because a text must keep its split whatever a later bundle does to it.
"""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata
from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Split = Literal["train", "validation", "test"]
UnicodeForm = Literal["NFC", "NFKC", "none"]

_BLOCK_TAGS = frozenset({"br", "p", "div", "li", "ul", "ol", "tr", "td", "th", "table", "h1", "h2", "h3", "h4", "hr"})
# Not the standard library's parser: 20,000 characters of "<a <a …" cost it seconds, and what it makes of a broken tag differs
# between patch releases of Python, so that a text's split would too. These patterns are linear: a tag may hold "<" only between
# quotes, so past any "<" at most two attempts to find a tag's end go on, one within each kind of quote.
# Groups are repeated without the possessive "*+": Python before 3.11.5 (gh-106052) loses its place there. What follows a group
# here can never stand where an earlier turn of it began, so the two match alike.
_ATTRIBUTES = r"""(?:[^<>"']|"[^"]*+"|'[^']*+')*"""
_MARKUP = re.compile(
    rf"""<!--(?:(?!<!--|-->).)*-->
    | <(?P<silent>script|style)(?![^\s/>]){_ATTRIBUTES}(?<!/)>(?:(?!</(?P=silent)).)*(?:</(?P=silent)[^<>]*>?)?
    | </?(?P<tag>[a-z][^\s<>/"']*+){_ATTRIBUTES}>
    | </?(?P<broken>[a-z][^\s<>/"']*+)[^<>]*+>
    | <[!?][^<>]*+>""",
    re.ASCII | re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
# Python refuses to read a number of more than 4,300 digits; a character has seven at most.
_ENDLESS_REFERENCE = re.compile("&#[0-9]{4000,};?")
# Markup that is escaped more often over is left as it is then; without an end, one text could ask for thousands of passes.
_MOST_PASSES = 8
# Chinese puts titles between full-width brackets; folded as they are, "＜V Space＞" would be taken for a tag and dropped.
_WIDE_LESS_THAN = re.compile(r"[＜﹤](?![\s0-9\u3400-\u9fff])")
_SPACES = re.compile(r"\s+")
# Cc and Cf without the zero-width (non-)joiner, which emoji and several scripts need, and without white space.
_INVISIBLE = re.compile(
    "[\u0000-\u0008\u000e-\u001f\u007f-\u0084\u0086-\u009f\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)

# Visible ASCII with single spaces, and nothing that markup or an entity begins with: no step of cleaning changes it. Most
# English texts are of this kind, and each would be searched six times over on the way to its answer.
_PLAIN = re.compile("[!-%'-;=-~]+(?: [!-%'-;=-~]+)*")


class TextSettings(BaseModel):
    """How text is cleaned before it is tokenized; part of every bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    html: bool = Field(True, description="Drop tags and resolve entities.")
    control: bool = Field(True, description="Drop control and invisible format characters.")
    unicode_form: UnicodeForm = Field("NFKC", description="Unicode normal form; NFKC folds full-width letters.")
    spaces: bool = Field(True, description="Turn every run of white space into one space and trim the ends.")


def _strip_html(text: str) -> str:
    text = _MARKUP.sub(lambda found: " " if (found["tag"] or found["broken"] or "").lower() in _BLOCK_TAGS else "", text)
    return html.unescape(_ENDLESS_REFERENCE.sub("\ufffd", text))


def _clean_once(text: str, settings: TextSettings) -> str:
    if settings.html and ("<" in text or "&" in text):
        text = _strip_html(text)
    if settings.unicode_form != "none" and not text.isascii():
        if settings.unicode_form == "NFKC":
            text = _WIDE_LESS_THAN.sub("< ", text)
        text = unicodedata.normalize(settings.unicode_form, text)
    if settings.control:
        text = _INVISIBLE.sub("", text)
    if settings.spaces:
        text = _SPACES.sub(" ", text).strip()
    return text


def _settle(step: Callable[[str], str], text: str) -> str:
    for _ in range(_MOST_PASSES):
        after = step(text)
        if after == text:
            break
        text = after
    return text


def clean(text: str, settings: TextSettings) -> str:
    """Return ``text`` as the classifier reads it; cleaning that again changes nothing.

    >>> clean("  Great&nbsp;phone<br/>ＡＢＣ ", TextSettings())
    'Great phone ABC'
    """
    if _PLAIN.fullmatch(text):
        return text
    # One step can bring to light what an earlier one takes away: "&amp;lt;" is an escaped escape, "e\u00ad\u0301" an é.
    return _settle(lambda rest: _clean_once(rest, settings), text)


_KEY_SETTINGS = TextSettings(html=True, control=True, unicode_form="NFKC", spaces=True)


def normalise(text: str) -> str:
    """Return the form under which two texts count as the same one: cleaned and case-folded.

    >>> normalise("Great  Phone!") == normalise("great phone!")
    True
    """
    if _PLAIN.fullmatch(text):
        return text.lower()
    # Case folding can leave NFKC (e.g. U+0345), and can make an entity of what was none ("&EACUTE;").
    return _settle(lambda rest: unicodedata.normalize("NFKC", clean(rest, _KEY_SETTINGS).casefold()), text)


def text_key(text: str) -> str:
    """Return 32 hexadecimal digits that name the normalised text; equal texts have equal keys."""
    return hashlib.sha256(normalise(text).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def split_of(key: str, *, test_ratio: float = 0.2, validation_ratio: float = 0.1) -> Split:
    """Return the split a text belongs to, decided by its key alone, once and for ever.

    >>> split_of(text_key("a"), test_ratio=1.0)
    'test'
    """
    # Other digits than those that name the text in shorter forms, so a prefix of the key says nothing of the split.
    place = int(hashlib.sha256(b"split:" + key.encode()).hexdigest()[:12], 16) / 16**12
    if place < test_ratio:
        return "test"
    if place < test_ratio + validation_ratio:
        return "validation"
    return "train"
