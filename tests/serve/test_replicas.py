"""Replicas get devices of their own, as far as there are any."""

import pytest
import torch

from openimagen.serve import replicas
from openimagen.serve.replicas import devices_of


def test_workers_on_a_cpu_share_it() -> None:
    assert devices_of("cpu", 2) == ["cpu", "cpu"]


def test_each_worker_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(replicas, "find_device", lambda name: torch.device(name or "cuda"))
    assert devices_of(None, 3) == ["cuda:0", "cuda:1", "cuda:2"]
    assert devices_of("cuda:2", 2) == ["cuda:2", "cuda:3"]
    with pytest.raises(ValueError, match="2 replicas from cuda:3 on: there are 4 GPUs"):
        devices_of("cuda:3", 2)
