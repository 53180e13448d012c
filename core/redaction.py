"""Taking personal data out of text before it is kept.

What has a form is found: addresses of mail and of machines, numbers of phones, cards and people, and what an operator's own
patterns say. Names and postal addresses have none and are not looked for; a model that guesses them would miss some, and be
trusted all the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Literal, NamedTuple, get_args

import phonenumbers

from core.identifiers import cards, national_ids

Kind = Literal["email", "ip", "national_id", "card", "phone"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""In order of precedence: where two overlap, the first is believed."""

# Full-width signs, which Chinese keyboards type, read as their ASCII twins; lengths stay, so that places do. The colon stands
# before numbers there and would be taken for a part of an address.
_NARROW = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F) if wide != 0xFF1A}
_NARROW |= {0x3000: 0x20, 0x2010: 0x2D, 0x2011: 0x2D, 0x2013: 0x2D}

# RFC 5322's dot-atom before the sign, a domain with a letter at its end behind it; ASCII alone before, because in Chinese no
# space parts an address from the words around it.
_AT = r"(?:@|\s?[\[(]\s?at\s?[\])]\s?)"
_DOT = r"(?:\.|\s?[\[(]\s?dot\s?[\])]\s?)"
_EMAIL = re.compile(
    rf"(?<![A-Za-z0-9_%+-])[A-Za-z0-9_%+-](?:[A-Za-z0-9._%+'-]{{0,63}}[A-Za-z0-9_%+-])?{_AT}"
    rf"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{{0,62}}[A-Za-z0-9])?{_DOT}){{1,8}}[A-Za-z]{{2,24}}(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_WRITTEN_AT = re.compile(r"[\[(]\s?at\s?[\])]", re.IGNORECASE)
_IPV4 = re.compile(r"(?<![\d.])(?<![vV])\d{1,3}(?:\.\d{1,3}){3}(?![\d]|\.\d)")
_IPV6 = re.compile(
    r"(?<![0-9A-Za-z:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:(?<=:)\d{1,3}(?:\.\d{1,3}){3})?(?![0-9A-Za-z:])"
)
_VERSION = re.compile(r"(?:version|release|build|firmware|driver|版本号?|固件|section|chapter|clause)\s*:?\s*$", re.IGNORECASE)
_LEAST_DIGITS = 6
_DIGIT = re.compile(r"\d")
# What stands before a number that is no phone's, though it might be one by its form.
_NO_PHONE = re.compile(
    r"(?:order|invoice|tracking|ticket|reference|ref|case|item|model|serial|account|isbn|sku|part|transaction|"
    r"订单号?|单号|编号|运单号?|快递单号?|型号|货号|流水号|账号|序列号)\s*(?:no\.?|number|num|id|#|号码?)?\s*(?:is|was|[:#：是为])?\s*[#]?\s*$|[#$¥€£]\s*$",
    re.IGNORECASE,
)


class Found(NamedTuple):
    """A place in a text and what stands there; ``kind`` is one of ``KINDS`` or the name of an own pattern."""

    start: int
    end: int
    kind: str


class Redactor:
    """Replaces what it finds by its kind in brackets, such as ``[EMAIL]``; redacting twice changes nothing more.

    ``patterns`` are an operator's own, by name; they take precedence. ``regions`` are the countries (ISO 3166) whose phone
    numbers are known without their prefix.

    Raises:
        ValueError: an unknown kind, a pattern that is no regular expression or matches nothing, a name that is no word.

    >>> Redactor().redact("Write to ada@example.com or call +44 20 7946 0958")
    'Write to [EMAIL] or call [PHONE]'
    """

    def __init__(
        self,
        kinds: Collection[str] = KINDS,
        *,
        patterns: Mapping[str, str] | None = None,
        regions: Sequence[str] = ("CN", "US", "GB"),
    ) -> None:
        if unknown := sorted(set(kinds) - set(KINDS)):
            raise ValueError(f"{', '.join(unknown)} is no kind; there are {', '.join(KINDS)}")
        if foreign := sorted(set(regions) - set(phonenumbers.SUPPORTED_REGIONS)):
            raise ValueError(f"{', '.join(foreign)} is no region with phone numbers, such as CN or US")
        self._regions = tuple(regions)
        self._own = [(name, _compiled(name, pattern)) for name, pattern in (patterns or {}).items()]
        finders: dict[Kind, Callable[[str], Iterable[tuple[int, int]]]] = {
            "email": _emails,
            "ip": _addresses,
            "national_id": _where_digits_are(national_ids),
            "card": _where_digits_are(cards),
            "phone": _where_digits_are(self._phones),
        }
        self._finders = [(kind, finders[kind]) for kind in KINDS if kind in kinds]

    @property
    def finds_something(self) -> bool:
        """Whether there is anything to look for."""
        return bool(self._own or self._finders)

    def find(self, text: str) -> list[Found]:
        """Return what stands where, in order; no two overlap."""
        narrow = text if text.isascii() else text.translate(_NARROW)
        taken: list[Found] = []
        for name, pattern in self._own:
            _take(taken, name, (found.span() for found in pattern.finditer(text) if found.end() > found.start()))
        known = -1
        # A number beside another is sometimes seen only when that one is gone.
        while known < len(taken):
            known = len(taken)
            for kind, finder in self._finders:
                # What is known to be something else must not be read as a part of a longer number.
                for start, end, _ in taken:
                    narrow = f"{narrow[:start]}{'|' * (end - start)}{narrow[end:]}"
                _take(taken, kind, finder(narrow))
        return sorted(taken)

    def redact(self, text: str) -> str:
        """Return ``text`` with all that is found replaced."""
        found = self.find(text)
        if not found:
            return text
        parts, end = [], 0
        for place in found:
            parts += [text[end : place.start], f"[{place.kind.upper()}]"]
            end = place.end
        return "".join([*parts, text[end:]])

    def redact_json(self, value: Any) -> Any:
        """Return a JSON value with every string in it redacted, the names of fields too."""
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, Mapping):
            return {self.redact(name): self.redact_json(part) for name, part in value.items()}
        return [self.redact_json(part) for part in value] if isinstance(value, list) else value

    def _phones(self, text: str) -> Iterator[tuple[int, int]]:
        for region in self._regions:
            for match in phonenumbers.PhoneNumberMatcher(text, region):
                if not _NO_PHONE.search(text, max(0, match.start - 40), match.start):
                    # The library takes the bracket around a number for a part of it.
                    opened = match.raw_string.startswith("(") and ")" not in match.raw_string
                    yield match.start + opened, match.end


def redactor_of(kinds: str, patterns: str, regions: str) -> Redactor:
    """Return the redactor that three settings describe: names with commas between, ``all`` for all; a JSON object; names.

    Raises:
        ValueError: when one of them cannot be used.

    >>> redactor_of("email, phone", '{"order": "ORD-[0-9]+"}', "CN").redact("ORD-7 for a@b.io")
    '[ORDER] for [EMAIL]'
    """
    own = json.loads(patterns) if patterns else {}
    if not isinstance(own, dict) or not all(isinstance(value, str) for value in own.values()):
        raise ValueError('the patterns must be a JSON object of names and regular expressions, such as {"order": "ORD-[0-9]+"}')
    asked = _names(kinds)
    return Redactor(KINDS if asked == ["all"] else asked, patterns=own, regions=_names(regions))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _compiled(name: str, pattern: str) -> re.Pattern[str]:
    if not re.fullmatch("[a-z][a-z0-9_]{0,30}", name):
        raise ValueError(f"{name!r} is no name of a pattern: small letters, digits and _ make one")
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"the pattern {name} is no regular expression: {error}") from None
    if compiled.search(f"[{name.upper()}]"):
        raise ValueError(f"the pattern {name} matches its own replacement [{name.upper()}], which would be redacted again")
    return compiled


def _take(taken: list[Found], kind: str, spans: Iterable[tuple[int, int]]) -> None:
    for start, end in spans:
        if all(end <= other.start or start >= other.end for other in taken):
            taken.append(Found(start, end, kind))


def _where_digits_are(finder: Callable[[str], Iterable[tuple[int, int]]]) -> Callable[[str], Iterable[tuple[int, int]]]:
    """Return ``finder`` for texts with digits enough; the others need not be searched, which takes a tenth of a millisecond."""
    return lambda text: finder(text) if len(_DIGIT.findall(text)) >= _LEAST_DIGITS else ()


def _emails(text: str) -> Iterator[tuple[int, int]]:
    # Most texts have no such sign, and looking for a whole address at every letter would take a quarter of a millisecond.
    if "@" in text or _WRITTEN_AT.search(text):
        yield from (found.span() for found in _EMAIL.finditer(text))


def _addresses(text: str) -> Iterator[tuple[int, int]]:
    if "." not in text and ":" not in text:
        return
    for found in _IPV4.finditer(text):
        if _is_address(found[0]) and not _VERSION.search(text, max(0, found.start() - 24), found.start()):
            yield found.span()
    for found in _IPV6.finditer(text):
        # Two groups with a pause between them are as often a name in C++ or a ratio.
        if sum(bool(group) for group in found[0].split(":")) > 2 and _is_address(found[0]):
            yield found.span()


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
