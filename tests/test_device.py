"""Devices and their memory."""

from pathlib import Path

import pytest
import torch

from openimagen import device

CPU = torch.device("cpu")


def test_free_memory_is_what_the_system_has_to_give() -> None:
    """A tensor that is written to takes what there was, give or take what others do meanwhile."""
    before = device.free_memory(CPU)
    if not device.MEMINFO.exists():
        assert before is None
        return
    assert before is not None and before > 2**28
    taken = torch.ones(2**28)  # a gigabyte
    after = device.free_memory(CPU)
    assert after is not None and before - after > 2**29
    del taken


def test_a_container_s_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "CGROUP", tmp_path)
    monkeypatch.setattr(device, "MEMINFO", tmp_path / "meminfo")
    assert device.free_memory(CPU) is None
    (tmp_path / "meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:    5000 kB\n")
    assert device.free_memory(CPU) == 5000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    assert device.free_memory(CPU) == 5000 * 1024
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert device.free_memory(CPU) == 2_000_000
