"""Devices and their memory."""

import time
from pathlib import Path

import pytest
import torch

from openimagen import device

CPU = torch.device("cpu")


def test_free_memory_is_what_the_system_has_to_give() -> None:
    """A tensor that is written to takes what there was, in one of 40 tries: others free some."""
    if not device.MEMINFO.exists():
        assert device.free_memory(CPU) is None
        return
    assert any(map(takes_a_gigabyte, range(40)))


def takes_a_gigabyte(number: int) -> bool:
    time.sleep(0.5 if number else 0)  # what others are at may pass
    before = device.free_memory(CPU)
    assert before is not None and before > 2**28
    taken = torch.ones(2**28)
    after = device.free_memory(CPU)
    del taken
    return after is not None and 2**29 < before - after < 2**31


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system that says nothing of its memory yet, and has one job in a slice."""
    monkeypatch.setattr(device, "CGROUP", tmp_path)
    monkeypatch.setattr(device, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(device, "OWN_GROUP", tmp_path / "own")
    (tmp_path / "slice/job").mkdir(parents=True)
    return tmp_path


def limit(group: Path, most: str, used: int, cached: int = 0) -> None:
    (group / "memory.max").write_text(f"{most}\n")
    (group / "memory.current").write_text(f"{used}\n")
    stat = f"anon 5\nfile 99\ninactive_file {cached}\nactive_file {cached}\nslab 7\n"
    (group / "memory.stat").write_text(stat)


def test_a_container_s_limit_counts(groups: Path) -> None:
    assert device.free_memory(CPU) is None
    (groups / "meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:    5000 kB\n")
    assert device.free_memory(CPU) == 5000 * 1024
    limit(groups, "max", 1_000_000)
    assert device.free_memory(CPU) == 5000 * 1024
    limit(groups, "3000000", 1_000_000)
    assert device.free_memory(CPU) == 2_000_000


def test_pictures_that_were_read_do_not_fill_a_container(groups: Path) -> None:
    """Their files are kept in memory, of which they are the first to go."""
    (groups / "meminfo").write_text("MemAvailable: 90000 kB\n")
    limit(groups, "3000000", 2_900_000, cached=1_000_000)
    assert device.free_memory(CPU) == 2_100_000


def test_the_narrowest_of_the_limits_around_a_job_counts(groups: Path) -> None:
    (groups / "meminfo").write_text("MemAvailable: 90000 kB\n")
    (groups / "own").write_text("3:cpu:/other\n0::/slice/job\n")
    limit(groups / "slice", "9000000", 2_000_000)
    assert device.free_memory(CPU) == 7_000_000
    limit(groups / "slice/job", "3000000", 1_000_000)
    assert device.free_memory(CPU) == 2_000_000
    limit(groups / "slice", "9000000", 8_000_000)
    assert device.free_memory(CPU) == 1_000_000
