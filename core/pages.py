"""Pages of HTML that need nothing else: no script, no other file, no network; and what their pictures are made of.

Whatever people named or wrote stands in them as text.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from html import escape
from unicodedata import east_asian_width

_NAME_CHARS = 30
# Controls are no XML, and signs that turn the direction of writing would turn what stands beside them too.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffe\uffff]")

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #fff; --hint: #676c72; --line: #d6d9dc; --good: #18794e;
  --bad: #c62a2f; --open: #2563c9; --dull: #9aa0a6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaec; --paper: #16181a; --hint: #9aa0a6; --line: #383c40;
  --good: #4cc38a; --bad: #ff6369; --open: #6ea8ff; --dull: #676c72; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .3rem .7rem .3rem 0; vertical-align: top;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; } .number { text-align: right; white-space: nowrap; }
.hint { color: var(--hint); } b.good { color: var(--good); } b.bad { color: var(--bad); } b.open { color: var(--hint); }
svg { max-width: 100%; height: auto; font-size: 12px; } svg text { fill: var(--ink); } svg text.hint { fill: var(--hint); }
svg .axis { stroke: var(--line); } svg .frame { fill: none; stroke: var(--line); } svg .curve { fill: none; stroke-width: 1.5; }
svg line.mark { stroke-width: 2; } svg .good .mark, svg rect.good { fill: var(--good); }
svg .bad .mark, svg rect.bad { fill: var(--bad); } svg .open .mark, svg rect.open { fill: var(--open); }
svg .dull .mark, svg rect.dull { fill: var(--dull); }
summary { cursor: pointer; } figure { display: inline-block; margin: .6rem 1rem .6rem 0; vertical-align: top; max-width: 100%; }
figcaption { color: var(--hint); max-width: 32rem; } figure svg { background: #fff; } figure svg text { fill: #1c1e21; }
svg .good line.mark { stroke: var(--good); } svg .bad line.mark { stroke: var(--bad); } svg .open line.mark, svg .open .curve
  { stroke: var(--open); } svg .dull .curve { stroke: var(--dull); }
"""

_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_REST = "base-uri 'none'; form-action 'none'"
POLICY = f"default-src 'none'; style-src 'sha256-{_DIGEST}'; {_REST}"
# Pictures that a library drew carry styles of their own. There is still nothing that runs, and nothing that is fetched.
_POLICY_OF_DRAWN = f"default-src 'none'; style-src 'unsafe-inline'; {_REST}"


def page(title: str, sections: Iterable[str], *, drawn: bool = False) -> str:
    """Return a page of ``sections``, which are HTML already; ``drawn`` where pictures that a library drew are among them."""
    policy = _POLICY_OF_DRAWN if drawn else POLICY
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{shown(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{shown(policy)}">'
        '<meta name="viewport" content="width=device-width"><meta name="robots" content="noindex">'
        f"<style>{_STYLE}</style></head><body><h1>{shown(title)}</h1>{''.join(sections)}</body></html>\n"
    )


def shown(text: str) -> str:
    """Return text as it may stand in HTML and in SVG: whatever it holds, it is only text.

    >>> shown('<b onclick="x">')
    '&lt;b onclick=&quot;x&quot;&gt;'
    """
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return escape(_UNSEEN.sub("\ufffd", whole))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Return a table; cells are HTML already."""
    kinds = [' class="number"' if place in numbers else "" for place in range(len(columns))]
    head = "".join(f"<th{kind}>{shown(column)}</th>" for kind, column in zip(kinds, columns, strict=True))
    cells = ("".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True)) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def short(name: str) -> str:
    """Return as much of a name as there is room for beside a picture; signs of East Asian scripts take twice as much.

    >>> short("账单" * 20) == "账单" * 7 + "…"
    True
    """
    room, kept = _NAME_CHARS, ""
    for sign in name:
        room -= 2 if east_asian_width(sign) in "WF" else 1
        if room < 1:
            return f"{kept}…"
        kept += sign
    return kept


def picture(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """Return a picture of ``parts``, SVG as text; ``title`` is what is read out."""
    head = f'<svg role="img" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}">'
    return f"{head}<title>{shown(title)}</title>{''.join(parts)}</svg>"
