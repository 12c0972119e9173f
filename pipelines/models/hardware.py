"""What this machine computes fastest with: number type, threads, memory allocator."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import time

import psutil
import torch

# mallopt's parameters, from glibc's malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEEP_BYTES = (1 << 31) - 1
# bf16 has to win clearly: it costs precision.
_WORTHWHILE = 1.2


def prepare_torch(*, threads: int = 0) -> None:
    """Set the number of threads (0 takes all cores) and keep freed memory for reuse."""
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    _keep_freed_memory()


@functools.cache
def fast_dtype() -> torch.dtype:
    """Return bfloat16 where matrix products in it are faster than in float32, else float32.

    Measured, because bfloat16 without AVX512-BF16 or AMX can be many times slower
    (pytorch issue 146508).
    """
    single, half = (_product_seconds(dtype) for dtype in (torch.float32, torch.bfloat16))
    return torch.bfloat16 if half * _WORTHWHILE < single else torch.float32


def probe_hardware() -> dict[str, str]:
    """Return what decides how training goes on this machine, in words."""
    single, half = (2 * 512 * 576 * 1536 / _product_seconds(dtype) / 1e9 for dtype in (torch.float32, torch.bfloat16))
    is_supported = {
        "AMX": torch.cpu._is_amx_tile_supported(),
        "AVX512-BF16": torch.cpu._is_avx512_bf16_supported(),
        "AVX2": torch.cpu._is_avx2_supported(),
    }
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "instructions": ", ".join(name for name, has in is_supported.items() if has) or "none of those that help",
        "memory": f"{psutil.virtual_memory().total >> 20} MB",
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "products": f"fp32 {single:.0f} GFLOP/s, bf16 {half:.0f} GFLOP/s",
        "number type": "bf16" if fast_dtype() is torch.bfloat16 else "fp32",
    }


def _product_seconds(dtype: torch.dtype) -> float:
    left = torch.ones(512, 576, dtype=dtype)
    right = torch.ones(1536, 576, dtype=dtype)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        torch.nn.functional.linear(left, right)
        best = min(best, time.perf_counter() - start)
    return best


def _keep_freed_memory() -> None:
    # By default glibc returns every large block to the system and faults it in again at
    # the next step; torch allocates large blocks all the time. Measured: +15 to +25%.
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # not glibc
        return
    mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)
