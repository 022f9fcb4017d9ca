"""Where and how a run computes: the device, the number format, memory and how much of it was used."""

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ornstein.core.errors import TooLargeError, UsageError
from ornstein.pipelines.options import device_name

if TYPE_CHECKING:
    import torch

GB = 10**9


def choose_device(name: str = "auto") -> "torch.device":
    """The device of that name: `auto` is the first GPU where there is one, else the CPU.

    Raises:
        UsageError: for a name that is none, or a GPU that is not there.
    """
    try:
        name = device_name(name)
    except ValueError as error:
        raise UsageError(f"--device: {error}") from None
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda:0" if count else "cpu"
    if name == "cuda":
        name = "cuda:0"
    if name != "cpu" and int(name.removeprefix("cuda:")) >= count:
        raise UsageError(
            f"--device {name}: this machine has {count or 'no'} CUDA device{'s' * (count > 1)}", "use --device cpu"
        )
    return torch.device(name)


def check_precision(precision: str, device: "torch.device") -> None:
    """Raises: UsageError for fp16 on a CPU, which has no arithmetic for it; bf16 is as fast there as it gets."""
    if precision == "fp16" and device.type == "cpu":
        raise UsageError("--precision fp16 needs a GPU", "use --precision bf16 or fp32 on the CPU")


def available_memory() -> int:
    """Bytes of main memory that a new program could take: what is free, within the limit of the container."""
    free = [
        _meminfo("MemAvailable") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
        if hasattr(os, "sysconf")
        else 4 * GB
    ]
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            with open(limit) as a, open(used) as b:
                free.append(int(a.read()) - int(b.read()))
        except (OSError, ValueError):  # no such limit here
            pass
    return max(min(free), 0)


def memory_budget(max_memory: float | None, device: "torch.device | None" = None) -> int:
    """Bytes that a run may still take on the device.

    Args:
        max_memory: the user's limit in GB for the whole process, or None: then 3/4 of what is free.
        device: main memory is counted for None and `cpu`, else the GPU's.

    Raises:
        TooLargeError: where the limit is used up already.
    """
    if device is not None and device.type == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        taken = torch.cuda.memory_allocated(device)
        budget = int(0.75 * free) if max_memory is None else min(free, int(max_memory * GB) - taken)
    elif max_memory is None:
        budget = int(0.75 * available_memory())
    else:
        budget = int(max_memory * GB) - current_memory()
    if budget <= 0:
        raise TooLargeError(
            f"--max-memory {max_memory or 0:g}: {current_memory() / GB:.1f} GB are in use before the work starts",
            "allow more memory",
        )
    return budget


def current_memory() -> int:
    """Bytes of main memory that this process holds now."""
    return _status("VmRSS") or _maximum()


def peak_memory() -> int:
    """The most bytes of main memory that this process held since the last `reset_peak_memory`, where the system tells
    (Linux), else since it started."""
    return _status("VmHWM") or _maximum()


def reset_peak_memory() -> None:
    """Starts a new count of `peak_memory`, where the system can (Linux)."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass


@dataclass(frozen=True)
class Place:
    """The device of a run, resolved.

    Args:
        device: a torch device's name, such as `cuda:0`.
        name: the product's name of a GPU, the number of threads on a CPU.
    """

    device: str
    name: str

    def __str__(self) -> str:
        return f"{self.device} ({self.name})"


def describe_device(name: str) -> Place:
    """The device that a name stands for. Raises: UsageError as `choose_device`."""
    device = choose_device(name)
    import torch

    if device.type == "cuda":
        return Place(str(device), torch.cuda.get_device_name(device))
    return Place("cpu", f"{torch.get_num_threads()} threads")


def _status(field: str) -> int:
    """A field of /proc/self/status in bytes, 0 where there is none."""
    return _read_kb("/proc/self/status", field)


def _meminfo(field: str) -> int:
    return _read_kb("/proc/meminfo", field)


def _read_kb(path: str, field: str) -> int:
    try:
        with open(path) as file:
            for line in file:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 0


def _maximum() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
