"""The arithmetic of networks: full or reduced precision, by the name that the command line gives it."""

import contextlib

import torch

REDUCED = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device | str, precision: str) -> contextlib.AbstractContextManager[object]:
    """Within it networks work in "bf16" or "fp16" where that is safe; "fp32" leaves them as they are.

    Raises:
        ValueError: for another precision.
    """
    if precision == "fp32":
        return contextlib.nullcontext()
    if precision not in REDUCED:
        raise ValueError(f"precision {precision!r}: must be fp32, bf16 or fp16")
    return torch.autocast(torch.device(device).type, REDUCED[precision])
