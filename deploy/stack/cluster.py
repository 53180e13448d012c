"""A Ray cluster that belongs to one stack, on loopback, with a secret of its own; or somebody else's, joined."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any

from core.errors import StackError
from core.settings import Settings

FOLDER_PREFIX = "hone-ray-"
_OBJECT_STORE_BYTES = 256 * 1024**2


def short_folder() -> Path:
    """Return a new folder whose name is short: Ray's socket paths inside it may have 107 characters."""
    roots = ["/tmp", tempfile.gettempdir()]  # noqa: S108 - mkdtemp makes it private
    root = next(place for place in roots if os.access(place, os.W_OK))
    return Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=root))


def ray_environment() -> dict[str, str]:
    """Return the environment that Ray, and every child that joins it, must be started with.

    The token is new for each start and lives in memory only: without one, any user of this machine could run code in the
    cluster; with Ray's default, a token file would be left in the user's home.
    """
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Despite its name it decides on every system whether a node binds to loopback or to the machine's own address.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # Ray's own 15 would have replicas give way to everything on the machine, and leave training little to give way by.
        "RAY_worker_niceness": "0",
        # Three times this, and a proxy that is still starting is ended for being slow; on a busy machine Ray's 5 s are too few.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
        # How long a process of the cluster waits for a head that is gone before it ends itself.
        "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
    }


@contextmanager
def ray_at_hand(settings: Settings, *, wanted: bool) -> Iterator[None]:
    """Have this process connected to Ray, if that is ``wanted``: to the cluster of the settings, or to one that ends with it.

    Must run in the main thread.

    Raises:
        StackError: as :meth:`Cluster.start`.
    """
    if not wanted:
        yield
        return
    before = dict(os.environ)
    # A thread that asks Ray for something after this has ended must not start another cluster by that.
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    if not settings.ray_address:
        os.environ |= ray_environment()
    folder = short_folder()
    cluster = Cluster(settings, folder)
    try:
        cluster.start()
        yield
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ |= before


class Cluster:
    """A started or joined cluster; :meth:`stop` ends what :meth:`start` started."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._node: Any = None
        self.address = settings.ray_address
        # The node this process runs on, once it has joined.
        self.node = ""

    def start(self) -> None:
        """Start Ray, or join the cluster of ``HONE_RAY_ADDRESS``, and connect this process to it.

        Must run in the main thread: the kernel ends Ray's processes when the thread that started them ends.

        Raises:
            StackError: when Ray does not start, or the cluster does not answer.
        """
        try:
            if not self._settings.ray_address:
                self._start_node()
            self._connect()
        except Exception as error:
            # Ray raises ConnectionError, RuntimeError, OSError, ValueError and its own types here.
            where = f"the cluster at {self.address} does not answer" if self._settings.ray_address else "Ray does not start"
            raise StackError(f"{where}: {type(error).__name__}: {_first_line(error)}") from error

    def dead(self) -> list[str]:
        """Return which of the started cluster's processes have ended by themselves."""
        return [str(kind) for kind, _ in self._node.dead_processes()] if self._node is not None else []

    def stop(self) -> None:
        """Disconnect, and end the cluster if it was started here. Safe to call twice."""
        if not self.address:
            return
        import ray

        ray.shutdown()
        if self._node is not None:
            # Killed at once, the head would leave agents behind that look for it for a minute and more.
            self._node.kill_all_processes(check_alive=False, allow_graceful=True)
            self._node = None

    def _start_node(self) -> None:
        # `ray.init(address="local")` would do, but takes a second longer on two cores, runs an autoscaler and a log monitor
        # that have nothing to do here, and takes port 52365, which another Ray on this machine may want. This is the class
        # that `ray start` uses, with the options it offers.
        from ray._private.node import Node
        from ray._private.parameter import RayParams

        params = RayParams(
            node_ip_address="127.0.0.1",
            dashboard_host="127.0.0.1",
            # Logical: they only bound how many actors are placed. Serving and training share the cores by niceness.
            num_cpus=max(os.cpu_count() or 1, _reserved(self._settings)),
            include_dashboard=False,
            dashboard_agent_listen_port=0,
            no_monitor=True,
            include_log_monitor=False,  # type: ignore[arg-type] # Ray's annotation says str, its code asks for truth
            object_store_memory=_OBJECT_STORE_BYTES,
            temp_dir=str(self._folder),
        )
        self._node = Node(head=True, shutdown_at_exit=False, spawn_reaper=True, ray_params=params)
        self.address = str(self._node.gcs_address)

    def _connect(self) -> None:
        import ray

        from serve.ray_nodes import own_node

        ray.init(address=self.address, namespace="hone", log_to_driver=False, logging_level=logging.ERROR)
        self.node = own_node()


def _reserved(settings: Settings) -> int:
    """Return how many logical cores the replicas at most and a training need."""
    training = ceil(settings.learn_workers * settings.learn_worker_cpus)
    return ceil(max(settings.replicas, settings.replicas_max) * settings.replica_cpus) + 2 + training


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:300]
