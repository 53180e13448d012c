"""Numbers that name a person or an account, told from other numbers by their check digits.

Countries are those whose people write to a service in English or Chinese. Where a scheme has no check digit, or too weak a one,
a number counts only in its customary grouping or behind a word that says what it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date

_DIGITS = re.compile("[0-9]+")

_CARD = re.compile(
    r"(?<![\d.,-])\d{13,19}(?![\d.,-]\d|\d)"
    r"|(?<![\d.,-])(?<!\d )(?:\d{4}([ -])\d{4}\1\d{4}\1\d{1,4}(?:\1\d{1,3})?|\d{4}([ -])\d{6}\2\d{4,5})(?![ -]?\d)"
)
# The issuers' ranges of ISO/IEC 7812: American Express, Visa, Mastercard, Discover, JCB, UnionPay, Diners, Maestro. 69 is where
# China's bar codes begin.
_ISSUER = re.compile(r"3[47]|4|5[1-5]|2[2-7]|6[02-57]|35|30[0-5]|36|38|39|50|5[6-9]")

# Nothing that a number could go on with stands before it, or behind it.
_ALONE, _ENDS = r"(?<![0-9A-Za-z])", r"(?![0-9A-Za-z])"
_NO_DIALLING = r"(?<![\d-])(?<!\+\d )(?<!\+\d\d )(?<!\+\d{3} )"

_VERHOEFF_PRODUCT = (
    "0123456789",
    "1234067895",
    "2340178956",
    "3401289567",
    "4012395678",
    "5987604321",
    "6598710432",
    "7659821043",
    "8765932104",
    "9876543210",
)
_VERHOEFF_PERMUTATION = (
    "0123456789",
    "1576283094",
    "5803796142",
    "8916043527",
    "9453126870",
    "4286573901",
    "2793806415",
    "7046913258",
)
_TAIWAN = "ABCDEFGHJKLMNPQRSTUVXYWZIO"


def luhn(digits: str) -> bool:
    """Return whether ``digits`` end in the check digit of ISO/IEC 7812-1, annex B.

    >>> luhn("4111111111111111"), luhn("4111111111111112")
    (True, False)
    """
    total = sum(int(digit) for digit in digits[-1::-2])
    return (total + sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])) % 10 == 0


def chinese(number: str) -> bool:
    """Return whether this is a resident identity number of GB 11643-1999: place, birthday, order, check by ISO 7064 mod 11-2.

    >>> chinese("11010519491231002X"), chinese("110105194912310021")
    (True, False)
    """
    if not "11" <= number[:2] <= "83":
        return False
    try:
        date.fromisoformat(f"{number[6:10]}-{number[10:12]}-{number[12:14]}")
    except ValueError:
        return False
    if not "1850" <= number[6:10] <= "2100":
        return False
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(number[:17]))
    return "10X98765432"[total % 11] == number[17].upper()


def hong_kong(number: str) -> bool:
    """Return whether this is a Hong Kong identity card number with its check digit.

    >>> hong_kong("A123456(3)"), hong_kong("A1234564")
    (True, False)
    """
    plain = number.upper().replace("(", "").replace(")", "")
    values = [10 + ord(sign) - ord("A") if sign.isalpha() else int(sign) for sign in plain[:-1].rjust(8, "#").replace("#", "")]
    # A card with one letter counts as if a blank, worth 36, stood before it.
    values = [36, *values] if len(values) == 7 else values
    total = sum(weight * value for weight, value in zip(range(9, 1, -1), values, strict=True))
    return "0A987654321"[total % 11] == plain[-1]


def taiwanese(number: str) -> bool:
    """Return whether this is a national identification number of Taiwan, of a citizen or a resident.

    >>> taiwanese("A123456789"), taiwanese("A123456788")
    (True, False)
    """
    place = 10 + _TAIWAN.index(number[0].upper())
    total = place // 10 + 9 * (place % 10) + sum((8 - at) * int(digit) for at, digit in enumerate(number[1:9]))
    return (total + int(number[9])) % 10 == 0


def singaporean(number: str) -> bool:
    """Return whether this is a Singaporean NRIC or FIN with its check letter.

    >>> singaporean("S1234567D"), singaporean("S1234567A")
    (True, False)
    """
    kind = number[0].upper()
    total = sum(weight * int(digit) for weight, digit in zip((2, 7, 6, 5, 4, 3, 2), number[1:8], strict=True))
    total += {"T": 4, "G": 4, "M": 3}.get(kind, 0)
    letters = {"S": "JZIHGFEDCBA", "T": "JZIHGFEDCBA", "M": "KLJNPQRTUWX"}.get(kind, "XWUTRQPNMLK")
    place = 10 - total % 11 if kind == "M" else total % 11
    return letters[place] == number[8].upper()


def indian(digits: str) -> bool:
    """Return whether this is an Aadhaar number by its Verhoeff digit.

    >>> indian("234123412346"), indian("234123412347")
    (True, False)
    """
    check = 0
    for place, digit in enumerate(reversed(digits)):
        check = int(_VERHOEFF_PRODUCT[check][int(_VERHOEFF_PERMUTATION[place % 8][int(digit)])])
    return check == 0


def _american(digits: str) -> bool:
    return digits[:3] not in ("000", "666") and digits[0] != "9" and digits[3:5] != "00" and digits[5:] != "0000"


def _always(_: str) -> bool:
    return True


def _only_digits(text: str) -> str:
    return "".join(_DIGITS.findall(text))


_SCHEMES: tuple[tuple[re.Pattern[str], Callable[[str], bool]], ...] = (
    (re.compile(_ALONE + r"\d{17}[\dXx]" + _ENDS), chinese),
    (re.compile(_ALONE + r"[A-Za-z]{1,2}\d{6}(?:\([\dAa]\)|[\dAa]" + _ENDS + ")"), hong_kong),
    (re.compile(_ALONE + r"[A-Za-z][1289]\d{8}" + _ENDS), taiwanese),
    (re.compile(_ALONE + r"[STFGMstfgm]\d{7}[A-Za-z]" + _ENDS), singaporean),
    (re.compile(r"(?<![\d-])\d{3}([- ])\d{2}\1\d{4}(?![\d-])"), lambda found: _american(_only_digits(found))),
    # Canada's number is nine digits with Luhn's, Australia's tax file number has none that is public: the word must say so.
    (
        re.compile(rf"{_NO_DIALLING}\d{{3}}([- ])\d{{3}}\1\d{{3}}(?![\d-]| \d)"),
        lambda found: luhn(_only_digits(found)),
    ),
    (re.compile(r"(?<![\d-])[2-9]\d{3}([- ])\d{4}\1\d{4}(?![\d-]| \d)"), lambda found: indian(_only_digits(found))),
    # https://www.gov.uk/hmrc-internal-manuals/national-insurance-manual/nim39110
    (
        re.compile(
            _ALONE + r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?(?:\d{2} ?){3}[A-D]" + _ENDS,
            re.IGNORECASE,
        ),
        _always,
    ),
)

_NAMED = re.compile(
    r"(?:\bssn|\bsocial security|\bsocial insurance|\bsin\b|\btax file|\btfn|\bnational (?:id|insurance)|"
    r"\baadhaar|\bidentity card|\bpassport|\bdriv(?:er'?s|ing) licen[cs]e|护照|身份证|身分證|社保|驾照|驾驶证|居住证|通行证)"
    r"[^0-9\n]{0,24}?(?<![0-9A-Za-z])(?P<number>[A-Za-z]{0,2}\d(?:[ -]?\d){6,17}[Xx]?)(?![0-9A-Za-z])",
    re.IGNORECASE,
)


def cards(text: str) -> Iterator[tuple[int, int]]:
    """Yield where payment card numbers stand: an issuer's range, 13 to 19 digits, Luhn's check digit."""
    for found in _CARD.finditer(text):
        digits = _only_digits(found[0])
        if _ISSUER.match(digits) and luhn(digits) and len(set(digits)) > 1:
            yield found.span()


def national_ids(text: str) -> Iterator[tuple[int, int]]:
    """Yield where national identity numbers stand, and those of documents that the text names."""
    for pattern, holds in _SCHEMES:
        yield from (found.span() for found in pattern.finditer(text) if holds(found[0]))
    for found in _NAMED.finditer(text):
        yield found.span("number")
