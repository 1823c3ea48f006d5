"""How fast a model draws, what it needs of memory, and what a picture costs in arithmetic."""

import os
import platform
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.utils.flop_counter import FlopCounterMode

from openimagen.cascade import Cascade, Progress, network_calls
from openimagen.evaluate.drawing import Model
from openimagen.progress import Watch, unwatched

PROMPT = "a cherry tree in blossom"
CPUINFO = Path("/proc/cpuinfo")  # Linux's
WARM, COLD = 5, 2  # pictures drawn, of which the median counts


@dataclass(frozen=True)
class StageSpeed:
    """What one stage takes for one picture."""

    name: str
    side: int
    parameters: int
    calls: int  # of its network
    seconds: float
    tflop: float  # of all its calls; a multiplication and an addition are two


@dataclass(frozen=True)
class Speed:
    """One picture at a time."""

    machine: str
    threads: int
    size: int
    stages: tuple[StageSpeed, ...]
    warm_s: float  # from a prompt to pixels, the model loaded
    cold_s: float  # from the command to a file
    peak_gb: float  # of the command's process; 10^9 bytes
    peak_gpu_gb: float | None  # of CUDA memory while warm; None on another device

    def __str__(self) -> str:
        lines = [f"{self.machine}, {self.threads} threads, {self.size} pixels"]
        for each in self.stages:
            size, tflop = f"{each.parameters / 1e6:.1f}M", f"{each.tflop:.3f} TFLOP"
            lines.append(f"{each.name}  {size}  {each.calls} calls  {tflop}  {each.seconds:.2f} s")
        gpu = f", {self.peak_gpu_gb:.2f} GB of its GPU" if self.peak_gpu_gb is not None else ""
        times = f"warm {self.warm_s:.2f} s, cold {self.cold_s:.2f} s"
        return "\n".join([*lines, f"{times}, at most {self.peak_gb:.2f} GB of memory{gpu}"])


def speed(model: Model, size: int | None = None, watch: Watch = unwatched) -> Speed:
    """Draw some pictures, one at a time: in this process, and by the command. Medians."""
    cascade = model.cascade
    side = size or cascade.config.stages[-1].side
    numbers = cascade.stages_between(0, side)
    on_cuda = cascade.device.type == "cuda"
    _lap(cascade, side)  # loads the encoder, and warms up
    if on_cuda:
        torch.cuda.reset_peak_memory_stats(cascade.device)
    with watch("timing", "pictures") as advance:
        laps = list[list[float]]()
        for number in range(WARM):
            laps.append(_lap(cascade, side, number))
            advance(number + 1, WARM + COLD)
        peak = torch.cuda.max_memory_allocated(cascade.device) / 1e9 if on_cuda else None
        flops = _flops(cascade, side)
        starts = list[tuple[float, float]]()
        for number in range(COLD):
            starts.append(_from_the_command(model, side))
            advance(WARM + number + 1, WARM + COLD)
    seconds = [statistics.median(lap[number] for lap in laps) for number in numbers]
    stages = [_stage(cascade, number, seconds[number], flops[number] / 1e12) for number in numbers]
    return Speed(
        machine=machine(cascade.device),
        threads=torch.get_num_threads(),
        size=side,
        stages=tuple(stages),
        warm_s=statistics.median(map(sum, laps)),
        cold_s=statistics.median(wall for wall, _ in starts),
        peak_gb=max(memory for _, memory in starts),
        peak_gpu_gb=peak,
    )


def machine(device: torch.device) -> str:
    """What the device is called."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if CPUINFO.exists() and (found := re.search(r"model name\s*:\s*(.+)", CPUINFO.read_text())):
        return found[1]
    return platform.processor() or platform.machine()


def _stage(cascade: Cascade, number: int, seconds: float, tflop: float) -> StageSpeed:
    stage = cascade.stages[number]
    parameters = sum(weight.numel() for weight in stage.trained().parameters())
    calls = network_calls(stage.config.sampling)
    return StageSpeed(stage.config.name, stage.config.side, parameters, calls, seconds, tflop)


def _lap(cascade: Cascade, size: int, seed: int = 0) -> list[float]:
    """Seconds of each stage for one picture; the first one's with reading the prompt."""
    began, ends = time.perf_counter(), dict[str, float]()

    def note(progress: Progress) -> None:
        ends[progress.stage] = time.perf_counter()

    image = cascade.sample([PROMPT], [seed], size=size, on_step=note)[-1]
    image.cpu()  # waits for the device
    times = [began, *list(ends.values())[:-1], time.perf_counter()]
    return [after - before for before, after in pairwise(times)]


def _flops(cascade: Cascade, size: int) -> list[int]:
    """Of each stage, for one picture."""
    ends = dict[str, int]()
    with FlopCounterMode(display=False) as counter:

        def note(progress: Progress) -> None:
            ends[progress.stage] = counter.get_total_flops()

        cascade.sample([PROMPT], [0], size=size, on_step=note)
    return [after - before for before, after in pairwise([0, *ends.values()])]


def _from_the_command(model: Model, size: int) -> tuple[float, float]:
    """Seconds from the command to a file, and 10^9 bytes of memory at the most."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "openimagen", "generate", PROMPT, "--model", model.name]
        command += ["--size", str(size), "--device", str(model.cascade.device), "--out", folder]
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert process.stderr is not None
        said = process.stderr.read().decode(errors="replace")
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
    if process.returncode:
        raise OSError(f"generate failed, which was to be timed: {said}")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return seconds, used.ru_maxrss * unit / 1e9
