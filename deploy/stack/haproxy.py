"""Stands where Ray Serve looks for the HAProxy program: closes what Ray's configuration leaves open, then becomes HAProxy.

Ray writes the configuration and starts HAProxy anew for every change of replicas. Its template opens a page of statistics and
one of metrics to every address of the machine, lets any user of the machine command the process, gives slow callers an hour,
and turns "no replica" into a 500 that no client retries. None of that is a setting of Ray's. So Ray is told that HAProxy lies
at a small script, which runs this file; it edits the configuration in place and becomes the real program, under the process
id that Ray watches. A configuration that is not as expected is refused, so nothing is ever opened by a new release of Ray.

Standard library only, run by path: it is started at every reload.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PID_FILE = "haproxy.pid"
CLOSED_FILE = "closed"
_ROUTED = "\n    use_backend "
_MARK = "# Closed by Hone.\n"
# Asking these twice does no harm, so a replica's death need not reach their callers. Not so a correction without a key.
REPEATABLE_PATHS = ("/", "/hf", "/predict", "/v1/predict")

# For what has become a request. What never does, by its head, HAProxy 2.8 answers with its own page of 400 or 408, which no
# configuration reaches: https://github.com/haproxy/haproxy/issues/3032.
_ERRORS = {
    400: ("400 Bad request", "malformed_body", "the request is not well-formed HTTP, or its headers are too large"),
    408: ("408 Request Time-out", "body_too_slow", "the request did not arrive in time"),
    502: ("503 Service Unavailable", "unavailable", "the replica that had this request is gone; send it again"),
    503: ("503 Service Unavailable", "unavailable", "no replica can take this request now; send it again"),
    504: ("504 Gateway Time-out", "deadline_exceeded", "the answer was not ready in time"),
}


@dataclass(frozen=True)
class Way:
    """How callers come in: HAProxy listens on ``bind`` and waits ``read_s`` seconds for a whole request."""

    program: str
    bind: str
    read_s: float


def edited(config: str, way: Way, folder: Path) -> str:
    """Return Ray's configuration with everything closed that is nobody's business; error answers lie in ``folder``.

    Raises:
        ValueError: when a line that has to be changed is not there, or is there twice.
    """
    if config.startswith(_MARK):
        return config
    errors = "".join(f"    errorfile {status} {folder / f'{status}.http'}\n" for status in _ERRORS)
    limits = (
        f"    timeout http-request {int(way.read_s * 1000)}ms\n"
        # A body that dribbles in is waited for here, where waiting costs nothing, and not in a replica.
        "    option http-buffer-request\n"
    )
    once = (
        f"    acl hone_repeatable path {' '.join(REPEATABLE_PATHS)}\n"
        "    acl hone_repeatable path_beg /v2/models/\n"
        "    acl hone_repeatable method GET HEAD\n"
        "    http-request disable-l7-retry unless hone_repeatable\n"
    )
    edits = (
        (r"^(    stats socket .*) mode 666 ", r"\1 mode 600 "),
        # To a log server on UDP port 514, two lines for each request; Hone's metrics and logs tell more.
        (r"^    log \S+ local0 info\n", ""),
        (r"^    option httplog\n", ""),
        (r"^frontend prometheus\n(?:    .*\n)+", ""),
        (r"^listen stats\n(?:  .*\n)+", ""),
        (r"^    errorfile 502 .*\n    errorfile 503 .*\n    errorfile 504 .*\n", errors),
        (r"^(defaults\n    mode http\n)", rf"\g<1>{limits}"),
        (r"^(frontend http_frontend\n    bind ).*\n", rf"\g<1>{way.bind}\n{once}"),
        # Hone's routes begin at the root: where nothing is found, nothing is there yet.
        (r"^(backend default_backend\n    )http-request return status 404 .*\n", r"\1http-request deny deny_status 503\n"),
    )
    for pattern, replacement in edits:
        config, count = re.subn(pattern, replacement, config, flags=re.MULTILINE)
        if count != 1:
            raise ValueError(f"Ray's configuration of HAProxy has {count} places like {pattern!r}, not 1")
    binds = re.findall(r"^\s*bind (.*)$", config, flags=re.MULTILINE)
    if binds != [way.bind]:
        raise ValueError(f"Ray's configuration of HAProxy listens on {binds}, not on {way.bind} alone")
    return _MARK + config


def write_errors(folder: Path) -> None:
    """Write the answers that HAProxy gives by itself, in the one shape of all errors."""
    for status, (line, code, sentence) in _ERRORS.items():
        body = json.dumps({"error": sentence, "code": code, "details": {}, "request_id": ""})
        head = [f"HTTP/1.1 {line}", "Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close"]
        if line.startswith("503"):
            head.append("Retry-After: 1")
        (folder / f"{status}.http").write_text("\r\n".join([*head, "", body]), encoding="ascii", newline="")


def living(folder: Path) -> int | None:
    """Return the process id of the HAProxy that last started on the configuration in ``folder``, if it lives."""
    try:
        pid = int((folder / PID_FILE).read_text())
    except (OSError, ValueError):
        return None
    return pid if _serves(pid, folder) else None


def all_living(folder: Path) -> set[int]:
    """Return the ids of all processes of the configuration in ``folder``: one, and those before it that are not done."""
    return {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _serves(int(entry.name), folder)}


def _serves(pid: int, folder: Path) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return f"{folder}/haproxy.cfg".encode() in command.split(b"\0")


def with_replicas(config: str, folder: Path) -> str:
    """Return ``config``, or the last one that knew of replicas where this one knows of none.

    A keeper that Ray has started anew begins so, and is told a second later who there is; callers need not wait for that.
    """
    last = folder / "last.cfg"
    if _ROUTED in config:
        _write(last, config)
        return config
    return last.read_text(encoding="utf-8") if last.exists() else config


def _write(path: Path, text: str) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def main(arguments: Sequence[str]) -> None:
    """Become HAProxy; ``arguments`` are program, address, seconds for a request, and then Ray's own."""
    way = Way(arguments[0], arguments[1], float(arguments[2]))
    own = list(arguments[3:])
    path = Path(own[own.index("-f") + 1])
    folder = path.parent
    if (folder / CLOSED_FILE).exists():
        sys.exit("the service ends, so nothing takes its place before the replicas")
    config = edited(path.read_text(encoding="utf-8"), way, folder)
    config = with_replicas(config, folder)
    write_errors(folder)
    _write(path, config)
    predecessor = living(folder)
    if predecessor is not None and "-sf" not in own:
        # Its keeper died, or lost it; it hands its socket over, so that no caller is turned away.
        found = re.search(r"stats socket (\S+) ", config)
        own += ["-sf", str(predecessor), *(["-x", found[1]] if found else [])]
    (folder / PID_FILE).write_text(str(os.getpid()))
    os.execv(way.program, [way.program, *own])  # noqa: S606 - the program this file stands in for


if __name__ == "__main__":
    main(sys.argv[1:])
