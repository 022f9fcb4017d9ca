"""What a benchmark says of where it ran, and how it counts time."""

import os
import platform
import resource
import time
from dataclasses import dataclass

import torch


def facts(device: str = "cpu") -> dict[str, object]:
    """The machine: processor, cores, what else it was doing, and versions."""
    found: dict[str, object] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(device)
        found |= {"gpu": properties.name, "gpu_memory_bytes": properties.total_memory, "cuda": torch.version.cuda}
    return found


@dataclass
class Clock:
    """Seconds since it was made: `wall`, and `cpu` of this process, its threads and the programs that it ran.

    On a machine that does other work too, only the CPU seconds compare methods.
    """

    def __post_init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), _cpu()

    def read(self) -> tuple[float, float]:
        """(wall, cpu)."""
        return time.perf_counter() - self._wall, _cpu() - self._cpu


def _cpu() -> float:
    uses = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(use.ru_utime + use.ru_stime for use in uses)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or "unknown"
