"""How much shared memory a block may use, by the compute capability of the GPU.

The numbers are those of the CUDA programming guide, table "Technical Specifications per Compute
Capability", row "maximum amount of shared memory per thread block".
"""

from __future__ import annotations

import re

from trtfuse.errors import UsageError

#: KiB of shared memory that a block may use, by compute capability.
SHARED_MEMORY = {
    "7.5": 64,
    "8.0": 163,
    "8.6": 99,
    "8.9": 99,
    "9.0": 227,
    "10.0": 227,
    "12.0": 99,
}

#: What is assumed where no target is given: the least from 8.0 on. 7.5 has to be asked for.
DEFAULT_KIB = 99


def capability(target: str | float) -> str:
    """A compute capability as NVIDIA's tables have it, "8.9", from 8.9, "8.9", "sm_89" or "89".

    What is none of these is returned as text.
    """
    text = str(target).strip()
    numbered = re.fullmatch(r"(?:sm|compute)?_?(\d+)(\d)[af]?", text, re.IGNORECASE)
    return f"{numbered[1]}.{numbered[2]}" if numbered else text


def shared_memory(target: str | float | None) -> int:
    """The bytes of shared memory that a block may use.

    Args:
        target: a compute capability such as 8.6, "8.6" or "sm_86", or None for the least from 8.0
            on.

    Raises:
        UsageError: it is unknown.
    """
    if target is None:
        return DEFAULT_KIB * 1024
    if capability(target) not in SHARED_MEMORY:
        raise UsageError(
            f"unknown target '{target}'; the compute capabilities are {', '.join(SHARED_MEMORY)}"
        )
    return SHARED_MEMORY[capability(target)] * 1024


def memory_limits() -> str:
    """The limits, as the docs of a rule have them: "64 KiB for 7.5; 99 KiB for 8.6, 8.9"."""
    capabilities: dict[int, list[str]] = {}
    for capability, size in SHARED_MEMORY.items():
        capabilities.setdefault(size, []).append(capability)
    return "; ".join(f"{size} KiB for {', '.join(of)}" for size, of in capabilities.items())
