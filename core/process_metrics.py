"""What this process takes of its machine, and what its GPUs do.

prometheus_client's own collector is silent as soon as several processes share their values, so this stands in for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from threading import Event, Thread
from typing import Any, Literal

import psutil

from core.metrics import Metrics

ProcessKind = Literal["replica", "learner"]

_EVERY_S = 5.0


@dataclass(frozen=True)
class Gpu:
    """One GPU: memory in bytes, and the share of the last moments in which it was at work."""

    index: int
    used_bytes: int
    total_bytes: int
    busy_ratio: float


class ProcessMetrics:
    """Keeps the gauges of this process; ``nvml`` is NVIDIA's library, or None where there is none."""

    def __init__(self, metrics: Metrics, kind: ProcessKind, nvml: Any | None = None) -> None:
        self._metrics = metrics
        self._kind = kind
        self._process = psutil.Process()
        self._cpu_s = 0.0
        self._nvml = nvml

    def refresh(self) -> None:
        """Read everything once; what this system does not tell is left out."""
        metrics, process, kind = self._metrics, self._process, self._kind
        with process.oneshot():
            times = process.cpu_times()
            metrics.set("hone_process_resident_bytes", process.memory_info().rss, process=kind)
            metrics.set("hone_process_threads", process.num_threads(), process=kind)
        spent_s = times.user + times.system
        metrics.count("hone_process_cpu_seconds_total", max(0.0, spent_s - self._cpu_s), process=kind)
        self._cpu_s = spent_s
        files = process.num_fds()
        metrics.set("hone_process_open_files", files, process=kind)
        limit = _open_files_limit(process)
        if limit:
            metrics.set("hone_process_open_files_ratio", files / limit, process=kind)
        for gpu in read_gpus(self._nvml):
            index = str(gpu.index)
            metrics.set("hone_gpu_used_bytes", gpu.used_bytes, gpu=index)
            metrics.set("hone_gpu_size_bytes", gpu.total_bytes, gpu=index)
            metrics.set("hone_gpu_busy_ratio", gpu.busy_ratio, gpu=index)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Refresh every few seconds, on a thread, inside the block."""
        ended = Event()

        def keep() -> None:
            while not ended.wait(_EVERY_S):
                self.refresh()

        self.refresh()
        thread = Thread(target=keep, name="hone-process-metrics", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def nvml() -> Any | None:
    """Return NVIDIA's management library, ready for use, or None: it comes with the extra ``gpu``, and wants a driver."""
    try:
        library = import_module("pynvml")
        library.nvmlInit()
    except Exception:
        # Not installed, or no driver: the library's own errors are known only once it is there.
        return None
    return library


def read_gpus(library: Any | None) -> list[Gpu]:
    """Return what each GPU of this machine does now; none where it cannot be told."""
    if library is None:
        return []
    found = []
    try:
        for index in range(library.nvmlDeviceGetCount()):
            handle = library.nvmlDeviceGetHandleByIndex(index)
            memory = library.nvmlDeviceGetMemoryInfo(handle)
            busy_ratio = library.nvmlDeviceGetUtilizationRates(handle).gpu / 100
            found.append(Gpu(index, memory.used, memory.total, busy_ratio))
    except library.NVMLError:
        # A GPU that is lost, or cut into slices that have no such figures: watching it must not end anything.
        return found
    return found


def _open_files_limit(process: psutil.Process) -> int:
    limits = getattr(process, "rlimit", None)
    soft = int(limits(psutil.RLIMIT_NOFILE)[0]) if limits is not None else 0
    return max(0, soft)
