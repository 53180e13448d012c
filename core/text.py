"""Cleaning text, and the two things that depend on it for ever: a text's key and its split.

Training and serving call the same :func:`clean`; its settings travel inside the bundle. :func:`text_key` does not depend on
those settings, because a text must keep its split whatever a later bundle does to it.
"""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata
from html.parser import HTMLParser
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Split = Literal["train", "validation", "test"]
UnicodeForm = Literal["NFC", "NFKC", "none"]

_BLOCK_TAGS = frozenset({"br", "p", "div", "li", "ul", "ol", "tr", "td", "th", "table", "h1", "h2", "h3", "h4", "hr"})
_SILENT_TAGS = frozenset({"script", "style"})
_TAG_LIKE = re.compile(r"<[a-zA-Z/!?]")
_SPACES = re.compile(r"\s+")
# Cc and Cf without the zero-width (non-)joiner, which emoji and several scripts need, and without white space.
_INVISIBLE = re.compile(
    "[\u0000-\u0008\u000e-\u001f\u007f-\u0084\u0086-\u009f\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)


class TextSettings(BaseModel):
    """How text is cleaned before it is tokenized; part of every bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    html: bool = Field(True, description="Drop tags and resolve entities.")
    control: bool = Field(True, description="Drop control and invisible format characters.")
    unicode_form: UnicodeForm = Field("NFKC", description="Unicode normal form; NFKC folds full-width letters.")
    spaces: bool = Field(True, description="Turn every run of white space into one space and trim the ends.")


class _Stripper(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - the base class passes it
        if tag in _SILENT_TAGS:
            self._silent += 1
        elif tag in _BLOCK_TAGS:
            self.parts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT_TAGS:
            self._silent = max(0, self._silent - 1)
        elif tag in _BLOCK_TAGS:
            self.parts.append(" ")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(data)


def _strip_html(text: str) -> str:
    if not _TAG_LIKE.search(text):
        return html.unescape(text)
    stripper = _Stripper()
    try:
        stripper.feed(text)
        stripper.close()
    except AssertionError:
        # How the standard parser says that it gives up, e.g. on "<![x[": then it was no HTML, and only entities are resolved.
        return html.unescape(text)
    return "".join(stripper.parts)


def clean(text: str, settings: TextSettings) -> str:
    """Return ``text`` as the classifier reads it.

    >>> clean("  Great&nbsp;phone<br/>ＡＢＣ ", TextSettings())
    'Great phone ABC'
    """
    if settings.html and ("<" in text or "&" in text):
        text = _strip_html(text)
    if settings.unicode_form != "none" and not text.isascii():
        text = unicodedata.normalize(settings.unicode_form, text)
    if settings.control:
        text = _INVISIBLE.sub("", text)
    if settings.spaces:
        text = _SPACES.sub(" ", text).strip()
    return text


_KEY_SETTINGS = TextSettings(html=True, control=True, unicode_form="NFKC", spaces=True)


def normalise(text: str) -> str:
    """Return the form under which two texts count as the same one: cleaned and case-folded.

    >>> normalise("Great  Phone!") == normalise("great phone!")
    True
    """
    # Case folding can leave NFKC (e.g. U+0345), so the form is applied once more to make this idempotent.
    return unicodedata.normalize("NFKC", clean(text, _KEY_SETTINGS).casefold())


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
