"""What this machine computes fastest with: number type, threads, memory allocator."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import time

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
