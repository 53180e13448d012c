"""All parts of the local stack, started in order and ended in the opposite one."""

from __future__ import annotations

import io
import logging
import os
import secrets
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Protocol

from core.errors import HoneError, StackError
from core.exposure import check_exposure
from core.registries import registry_of
from core.settings import Settings
from deploy.client import ServiceClient
from deploy.stack.cluster import Cluster, ray_environment, short_folder
from deploy.stack.first import FirstVersion
from deploy.stack.guard import MARK, start_guard
from deploy.stack.ingress import Ingress
from deploy.stack.learner import Learner
from deploy.stack.preflight import Trace, check_port, leave_trace, locked, mend
from deploy.stack.readiness import wait_until_answering
from deploy.stack.start_key import missing_keys, start_key

if TYPE_CHECKING:
    from train.progress import Progress
    from train.teach import TeachReport

_logger = logging.getLogger("hone.stack")

_READY_WITHIN_S = 120.0
_WATCH_EVERY_S = 0.5
_GUARD_ENDS_WITHIN_S = 15.0
_PROBE_TEXT = "Is anybody there?"


class Screen(Protocol):
    """Where the stack says what it does."""

    def say(self, sentence: str) -> None:
        """Show one sentence."""

    def teaching(self, progress: Progress) -> None:
        """Show how far the first training is."""

    def taught(self, report: TeachReport) -> None:
        """Show what the first training led to."""

    def answering(self, version: str) -> None:
        """Show how to use what now answers."""


def run_stack(settings: Settings, screen: Screen) -> None:
    """Start the stack, return when SIGINT or SIGTERM has ended it; whatever happens, nothing it started is left.

    Must run in the main thread of its process.

    Raises:
        HomeUnusable, HomeLocked, PortInUse, Exposed, KeysDamaged: before anything was started.
        StackError: when Ray, the service or the cluster fails.
        HoneError: when there is no version yet and the first training is refused.
    """
    with ending_on_signals(), ExitStack() as parts:
        try:
            _start(settings, screen, parts)
        except KeyboardInterrupt:
            screen.say("stopping …")


def _start(settings: Settings, screen: Screen, parts: ExitStack) -> None:
    home = settings.home
    home.prepare()
    silence = parts.enter_context(ExitStack())
    parts.enter_context(locked(home))
    check_exposure(settings)
    if not settings.ray_address:
        # On a cluster of somebody else's, another classifier may be answered there already.
        check_port(settings.host, settings.port)
    for sentence in mend(home, registry_of(settings)):
        screen.say(f"mended: {sentence}")
    lacking = missing_keys(settings)
    if lacking is not None:
        screen.say(lacking)
    folder = parts.enter_context(_guarded(settings))
    first = _begin_teaching(settings, screen, parts)
    ingress = Ingress(settings, folder)
    if not settings.ray_address:
        os.environ |= ingress.prepare()
    cluster = Cluster(settings, folder)
    with _logs_kept(folder, home.logs / "ray"):
        screen.say(f"joining the Ray cluster at {settings.ray_address}" if settings.ray_address else "starting Ray")
        _on_end(parts, cluster.stop)
        cluster.start()
        # Ray takes over SIGTERM when it starts.
        _take_signals()
        if first is not None:
            _finish_teaching(first, settings, screen)
        learner = Learner(settings, ray_address=cluster.address, metrics_dir=home.metrics / cluster.node)
        # At the end the learner is asked first and waited for last, so that it ends while the service does.
        _on_end(parts, learner.wait)
        screen.say("starting the service")
        with start_key(settings) as asking:
            _start_service(settings, ingress, parts)
            client = ServiceClient(asking)
            wait_until_answering(client, _PROBE_TEXT, timeout_s=_READY_WITHIN_S, check=lambda: _check(cluster))
        screen.answering(str(registry_of(settings).aliases().champion))
        # Only now: its imports would take the cores from the first answer.
        _on_end(parts, learner.ask_to_stop)
        learner.start()
        # Ray says farewell on standard output.
        parts.callback(lambda: silence.enter_context(redirect_stdout(io.StringIO())))
        _watch(cluster, learner, ingress, screen)


def _begin_teaching(settings: Settings, screen: Screen, parts: ExitStack) -> FirstVersion | None:
    if registry_of(settings).aliases().champion is not None:
        return None
    screen.say("no version yet: teaching the default classifier from the sample data, once")
    first = FirstVersion(settings)
    _on_end(parts, first.stop)
    return first


def _finish_teaching(first: FirstVersion, settings: Settings, screen: Screen) -> None:
    report = first.finish(screen.teaching)
    first.stop()
    screen.taught(report)
    if registry_of(settings).aliases().champion is None:
        how = f"; sign for it: hone models approve {report.version}" if report.decision.waits else ""
        raise StackError(f"the first version was not promoted ({report.decision.summary}), so there is nothing to serve{how}")


def _start_service(settings: Settings, ingress: Ingress, parts: ExitStack) -> None:
    from serve.service import start_service, stop_service

    # Serve's own progress is of no use to who reads this terminal; it is kept in Ray's logs.
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    _on_end(parts, lambda: stop_service(settings))
    # Before Serve ends, which ends HAProxy with all it has in flight.
    _on_end(parts, ingress.close)
    try:
        start_service(settings, metrics_dir=settings.home.metrics, host=ingress.ray_host)
    except HoneError:
        raise
    except Exception as error:
        # Ray Serve raises RuntimeError, RayError and more here; none of them says anything to a newcomer.
        raise StackError(f"the service does not start ({type(error).__name__}); look into {settings.home.logs}") from error


def _watch(cluster: Cluster, learner: Learner, ingress: Ingress, screen: Screen) -> None:
    while True:
        threading.Event().wait(_WATCH_EVERY_S)
        _check(cluster)
        if ingress.keep_alive():
            screen.say("HAProxy ended by itself and is started again")
        code = learner.keep_alive()
        if code is not None:
            screen.say(f"the learner ended with code {code} and is started again; see logs/learner.log")


def _check(cluster: Cluster) -> None:
    dead = cluster.dead()
    if dead:
        raise StackError(f"Ray's {', '.join(dead)} ended by itself; its logs are kept in logs/ray of the state folder")


@contextmanager
def _guarded(settings: Settings) -> Iterator[Path]:
    """Mark all processes started from here on, and have a guard end them when this process is gone."""
    folder = short_folder()
    mark = secrets.token_hex(16)
    guard = start_guard(mark, folder, os.getpid(), os.environ)
    try:
        os.environ |= {MARK: mark, **(ray_environment() if not settings.ray_address else {})}
        # Replicas and learner are told where their counters go; Ray's own processes are not to add theirs.
        os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
        leave_trace(settings.home, Trace(mark=mark, pid=os.getpid(), folder=folder))
        yield folder
    finally:
        if guard.stdin is not None:
            guard.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            guard.wait(timeout=_GUARD_ENDS_WITHIN_S)


@contextmanager
def _logs_kept(folder: Path, kept: Path) -> Iterator[None]:
    """Copy Ray's logs out of the folder that will be removed, if what follows fails."""
    try:
        yield
    except Exception:
        shutil.rmtree(kept, ignore_errors=True)
        with suppress(OSError, shutil.Error):
            shutil.copytree(folder / "session_latest" / "logs", kept, ignore_dangling_symlinks=True)
        raise


def _on_end(parts: ExitStack, action: Callable[[], None]) -> None:
    """Have ``action`` run at the end; its failure must not keep the other parts from being ended."""

    def act() -> None:
        try:
            action()
        except Exception:
            # The guard ends whatever this one could not.
            _logger.warning("a part of the stack did not end in order", exc_info=True)

    parts.callback(act)


def _take_signals() -> None:
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)


def _stop(_number: int, _frame: FrameType | None) -> None:
    # A second signal means now: this process ends on the spot, and its guard ends all others.
    signal.signal(signal.SIGINT, _end_now)
    signal.signal(signal.SIGTERM, _end_now)
    raise KeyboardInterrupt


def _end_now(_number: int, _frame: FrameType | None) -> None:
    os._exit(130)


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into KeyboardInterrupt; put the former handlers back at the end."""
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    _take_signals()
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
