"""What a process and its GPUs take, as metrics."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from core.metrics import Metrics
from core.process_metrics import Gpu, ProcessMetrics, nvml, read_gpus


class LostGpuError(Exception):
    """Stands for the library's own error."""


class FakeNvml:
    """NVIDIA's library with ``count`` GPUs, the last of which is lost where ``broken``."""

    NVMLError = LostGpuError

    def __init__(self, count: int, *, broken: bool = False) -> None:
        self._count = count
        self._broken = broken

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - the library's name
        return self._count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802 - the library's name
        if self._broken and index == self._count - 1:
            raise LostGpuError
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802 - the library's name
        return SimpleNamespace(used=1_000 + handle, total=80_000)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:  # noqa: N802 - the library's name
        return SimpleNamespace(gpu=25 * (handle + 1))


def test_a_process_tells_its_memory_files_threads_and_processor_time() -> None:
    metrics = Metrics()
    watched = ProcessMetrics(metrics, "replica")

    def value(name: str) -> float:
        found = metrics.registry.get_sample_value(name, {"process": "replica"})
        assert found is not None
        return found

    watched.refresh()
    assert value("hone_process_resident_bytes") > 10_000_000
    assert value("hone_process_threads") >= 1
    files, spent_s = value("hone_process_open_files"), value("hone_process_cpu_seconds_total")
    assert spent_s > 0
    with open(os.devnull, "rb"), open(os.devnull, "rb"):
        watched.refresh()
        assert value("hone_process_open_files") == files + 2
    assert 0 < value("hone_process_open_files_ratio") < 1
    assert spent_s <= value("hone_process_cpu_seconds_total") <= sum(os.times()[:2]) + 1


def test_gpus_tell_memory_and_use() -> None:
    metrics = Metrics()
    ProcessMetrics(metrics, "replica", FakeNvml(2)).refresh()
    assert metrics.registry.get_sample_value("hone_gpu_used_bytes", {"gpu": "1"}) == 1_001
    assert metrics.registry.get_sample_value("hone_gpu_size_bytes", {"gpu": "0"}) == 80_000
    assert metrics.registry.get_sample_value("hone_gpu_busy_ratio", {"gpu": "1"}) == 0.5


def test_a_gpu_that_is_lost_hides_no_other() -> None:
    assert read_gpus(FakeNvml(2, broken=True)) == [Gpu(0, 1_000, 80_000, 0.25)]
    assert read_gpus(None) == []


def test_the_gpus_of_this_machine_are_read() -> None:
    library = nvml()
    if library is None:
        pytest.skip("there is no NVIDIA driver here, or no nvidia-ml-py")
    gpus = read_gpus(library)
    assert gpus
    assert all(0 <= gpu.used_bytes <= gpu.total_bytes and 0 <= gpu.busy_ratio <= 1 for gpu in gpus)
