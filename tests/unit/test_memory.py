"""The peak of one stage is not that of the one before."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import torch
from mllmu_med.memory import forget_peak, peak_memory_mb
cpu = torch.device("cpu")
large = torch.ones(300 << 20, dtype=torch.uint8)
first = peak_memory_mb(cpu)
del large
forget_peak()
large_freed = peak_memory_mb(cpu)
small = [bytes(range(256)) * 128 for _ in range(10_000)]
kept = bytes(range(256)) * 128  # behind them: the heap cannot shrink from its end
del small
forget_peak()
print(first, large_freed, peak_memory_mb(cpu))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak is that of the whole process")
def test_the_peak_begins_anew() -> None:
    output = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True).stdout
    first, large_freed, small_freed = map(float, output.split())
    assert first > 300
    assert large_freed < first - 250
    assert small_freed < large_freed + 50
