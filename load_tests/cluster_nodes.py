"""Three nodes of Ray on one machine, each with an environment, a cache of bundles and processes of its own."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.ports import free_port

_CORES = 2
_DEPLOYS = 4
_BUILD_S = 120.0
_LOOK_EVERY_S = 0.2
_OBJECT_STORE_BYTES = 100 * 1024**2


class Nodes:
    """A head and two workers; ``environment`` is theirs, as if it had been set before ``ray start`` on each machine."""

    def __init__(self, environment: Mapping[str, str], caches: Path) -> None:
        # Logs and sockets: a socket's path may have 107 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="hone-", dir="/tmp"))
        self._environment = dict(environment)
        self._caches = caches
        # The head first.
        self._nodes: list[Any] = []
        self.dashboard = f"http://127.0.0.1:{free_port()}"

    def start(self) -> None:
        """Start all three; this process joins none of them. Where one does not come up, nothing of any is left running."""
        # What ray.cluster_utils does, without its note of the cluster in a folder that all of this machine's users share.
        from ray._private.node import Node
        from ray._private.parameter import RayParams

        ray_environment = {
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            # Ray's own 15 has its workers give way to all else.
            "RAY_worker_niceness": "0",
            # A busy machine starts slowly; Ray would give up after 30 and 15 s.
            "RAY_raylet_start_wait_time_s": "120",
            "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
            # As in an image, `python` is the one that has Hone.
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        os.environ |= ray_environment
        head = RayParams(
            **self._node("head"),
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            dashboard_port=int(self.dashboard.rpartition(":")[2]),  # type: ignore[arg-type] # Ray says bool
            temp_dir=str(self._folder),
        )
        before = psutil.Process().children(recursive=True)
        try:
            self._nodes = [Node(head, head=True, shutdown_at_exit=False, spawn_reaper=False)]
            address = self._nodes[0].gcs_address
            for name in ("first", "second"):
                worker = RayParams(**self._node(name), gcs_address=address, redis_address=address)
                self._nodes.append(Node(worker, head=False, shutdown_at_exit=False, spawn_reaper=False))
        except BaseException:
            # A node that does not come up is known to nobody, and so are the processes it has begun by then.
            _kill([process for process in psutil.Process().children(recursive=True) if process not in before])
            raise

    def deploy(self, config: dict[str, Any]) -> None:
        """Have Serve do what ``config`` says, asked again where its proxies took longer than Ray waits, or building failed."""
        from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

        client = ServeSubmissionClient(self.dashboard)
        for _ in range(_DEPLOYS):
            try:
                client.deploy_applications(config)
            except RuntimeError:
                continue
            if self._built(len(config["applications"])):
                return
        client.deploy_applications(config)

    def _built(self, wanted: int) -> bool:
        """Return whether all applications were built, once that is known; their replicas may still be starting."""
        end_s = time.monotonic() + _BUILD_S
        while time.monotonic() < end_s:
            with suppress(httpx.HTTPError, ValueError, KeyError):
                found = list(self._serve()["applications"].values())
                if any(application["status"] == "DEPLOY_FAILED" for application in found):
                    return False
                if len(found) == wanted and all(application["deployments"] for application in found):
                    return True
            time.sleep(_LOOK_EVERY_S)
        return False

    def replicas(self) -> dict[str, str]:
        """Return the nodes of the replicas that run, by the replicas' names."""
        return {
            replica["replica_id"]: replica["node_id"]
            for application in self._serve()["applications"].values()
            for deployment in application["deployments"].values()
            for replica in deployment["replicas"]
            if replica["state"] == "RUNNING"
        }

    def account(self) -> dict[str, Any]:
        """Return what Serve says of its proxies, applications and replicas, and which nodes have a process that ended."""
        ended = {
            number: [
                kind for kind, processes in node.all_processes.items() if any(p.process.poll() is not None for p in processes)
            ]
            for number, node in enumerate(self._nodes)
        }
        try:
            serve = self._serve()
        except (httpx.HTTPError, ValueError) as error:
            return {"serve": repr(error), "ended": ended}
        return {
            "proxies": {node: proxy["status"] for node, proxy in serve["proxies"].items()},
            "applications": {
                name: {
                    "status": application["status"],
                    "message": application["message"],
                    "deployments": {
                        deployment["name"]: {
                            "status": deployment["status"],
                            "message": deployment["message"],
                            "replicas": {replica["replica_id"]: replica["state"] for replica in deployment["replicas"]},
                        }
                        for deployment in application["deployments"].values()
                    },
                }
                for name, application in serve["applications"].items()
            },
            "ended": ended,
        }

    def _serve(self) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.dashboard}/api/serve/applications/", trust_env=False, timeout=10).json()
        return found

    def kill_worker_with_replica(self) -> str:
        """End every process of a worker that has a replica at once, as if its power went, and return the node's id."""
        busy = set(self.replicas().values())
        victim = next(node for node in self._nodes[1:] if node.node_id in busy)
        doomed = _processes(victim)
        for process in doomed:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        _kill(doomed)
        self._nodes.remove(victim)
        return str(victim.node_id)

    def pulled(self) -> dict[str, list[str]]:
        """Return the versions that each node has pulled."""
        return {folder.name: sorted(entry.name for entry in folder.glob("v*")) for folder in sorted(self._caches.iterdir())}

    def stop(self) -> None:
        """End all of them."""
        begun = [process for node in self._nodes for process in _processes(node)]
        for node in reversed(self._nodes):
            node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
        _kill(begun)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _node(self, name: str) -> dict[str, Any]:
        cache = self._caches / name
        cache.mkdir(parents=True, exist_ok=True)
        return {
            "num_cpus": _CORES,
            "num_gpus": 0,
            "object_store_memory": _OBJECT_STORE_BYTES,
            "min_worker_port": 0,
            "max_worker_port": 0,
            "env_vars": {**self._environment, "HONE_BUNDLES_CACHE": str(cache)},
            # Each would want the same port.
            "dashboard_agent_listen_port": 0,
        }


def _processes(node: Any) -> list[psutil.Process]:
    """Return what a node has started, and what that has."""
    found = []
    for kind in node.all_processes.values():
        for started in kind:
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(started.process.pid)
                found += [process, *process.children(recursive=True)]
    return found


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        # It knows by the time of its start whether its number is another's by now.
        with suppress(psutil.NoSuchProcess):
            process.kill()
