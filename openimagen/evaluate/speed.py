"""How fast a model draws, what it needs of memory, and what a picture costs in arithmetic."""

import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

import torch
from torch.utils.flop_counter import FlopCounterMode

from openimagen.cascade import Cascade, OnStep, Progress, network_calls
from openimagen.evaluate.drawing import Model
from openimagen.progress import Watch, unwatched

PROMPT = "a cherry tree in blossom"
CPUINFO = Path("/proc/cpuinfo")  # Linux's
WARM, COLD = 5, 2  # pictures drawn, of which the median counts

# prompt, seed, side: draws one picture with the model, as far as the bytes of the file people get
Draw = Callable[[str, int, int, OnStep], object]


@dataclass(frozen=True)
class StageSpeed:
    """What one stage takes for one picture."""

    name: str
    side: int
    parameters: int
    calls: int  # of its network
    seconds: float
    tflop: float  # of its calls, the first's with the text; a product and its sum are two


@dataclass(frozen=True)
class Speed:
    """One picture at a time."""

    machine: str
    threads: int
    size: int
    stages: tuple[StageSpeed, ...]
    warm_s: float  # from a prompt to a signed PNG, the model loaded
    cold_s: float  # from the command to a file
    peak_gb: float | None  # of the command's process, 10^9 bytes; None if nobody tells
    peak_gpu_gb: float | None  # of CUDA memory while warm; None on another device
    door_s: float = 0.0  # of a warm picture: filters, marks, signature and PNG

    def __str__(self) -> str:
        lines = [f"{self.machine}, {self.threads} threads, {self.size} pixels"]
        for each in self.stages:
            size, tflop = f"{each.parameters / 1e6:.1f}M", f"{each.tflop:.3f} TFLOP"
            lines.append(f"{each.name}  {size}  {each.calls} calls  {tflop}  {each.seconds:.2f} s")
        lines.append(f"filters, marks, signature and PNG  {self.door_s:.2f} s")
        times = [f"warm {self.warm_s:.2f} s", f"cold {self.cold_s:.2f} s"]
        for peak, where in ((self.peak_gb, "memory"), (self.peak_gpu_gb, "its GPU")):
            times += [] if peak is None else [f"at most {peak:.2f} GB of {where}"]
        return "\n".join([*lines, ", ".join(times)])


def speed(model: Model, draw: Draw, size: int | None = None, watch: Watch = unwatched) -> Speed:
    """Draw some pictures, one at a time: in this process, and by the command. Medians."""
    cascade = model.cascade
    side = size or cascade.config.stages[-1].side
    numbers = cascade.stages_between(0, side)
    on_cuda = cascade.device.type == "cuda"
    _lap(draw, side)  # loads the encoder and the filters, and warms up
    if on_cuda:
        torch.cuda.reset_peak_memory_stats(cascade.device)
    with watch("timing", "pictures") as advance:
        laps = list[list[float]]()
        for number in range(WARM):
            laps.append(_lap(draw, side, number))
            advance(number + 1, WARM + COLD)
        peak = torch.cuda.max_memory_allocated(cascade.device) / 1e9 if on_cuda else None
        flops = _flops(cascade, side)
        starts = list[tuple[float, float | None]]()
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
        peak_gb=max((memory for _, memory in starts if memory), default=None),
        peak_gpu_gb=peak,
        door_s=statistics.median(lap[-1] for lap in laps),
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


def _lap(draw: Draw, size: int, seed: int = 0) -> list[float]:
    """Seconds of each stage, the first one's with reading the prompt, and of the door."""
    began, ends = time.perf_counter(), dict[str, float]()

    def note(progress: Progress) -> None:
        ends[progress.stage] = time.perf_counter()

    draw(PROMPT, seed, size, note)
    times = [began, *ends.values(), time.perf_counter()]
    return [after - before for before, after in pairwise(times)]


def _flops(cascade: Cascade, size: int) -> list[int]:
    """Of each stage, for one picture."""
    ends = dict[str, int]()
    with FlopCounterMode(display=False) as counter:

        def note(progress: Progress) -> None:
            ends[progress.stage] = counter.get_total_flops()

        cascade.sample([PROMPT], [0], size=size, on_step=note)
    return [after - before for before, after in pairwise([0, *ends.values()])]


def _from_the_command(model: Model, size: int) -> tuple[float, float | None]:
    """Seconds from the command to a file, and 10^9 bytes of memory at the most, if that is told."""
    with TemporaryDirectory() as folder, TemporaryFile() as said:
        command = [sys.executable, "-m", "openimagen", "generate", PROMPT, "--model", model.name]
        command += ["--size", str(size), "--device", str(model.cascade.device), "--out", folder]
        began, peak = time.perf_counter(), None
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        while process.poll() is None:
            peak = _peak(process.pid) or peak
            time.sleep(0.01)
        seconds = time.perf_counter() - began
        said.seek(0)
        if process.returncode:
            words = said.read().decode(errors="replace")
            raise OSError(f"generate failed, which was to be timed: {words}")
    return seconds, peak


def _peak(process: int) -> float | None:
    """10^9 bytes that a process has had in memory; None where the system does not say.

    Not what `wait4` tells: that counts the memory of the process that started it, too.
    """
    status = Path(f"/proc/{process}/status")
    with suppress(OSError):
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
        return 1024 * int(found[1]) / 1e9 if found else None
    return None
