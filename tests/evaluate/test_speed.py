"""Speed and arithmetic: closed forms in the number of steps, the command really run."""

import pytest
import torch

from openimagen.cascade import Cascade
from openimagen.evaluate import speed as module
from openimagen.evaluate.drawing import Model
from openimagen.evaluate.speed import machine, speed
from openimagen.imagen import Imagen


def timed(
    cascade: Cascade, monkeypatch: pytest.MonkeyPatch, size: int | None = None
) -> module.Speed:
    """Without the command, which cannot be told of a cascade in memory."""
    monkeypatch.setattr(module, "WARM", 1)
    monkeypatch.setattr(module, "_from_the_command", lambda model, size: (3.0, 0.5))
    draw = Imagen(cascade).draw_file
    return speed(Model("tiny", "1234", cascade), draw, size)


def with_steps(cascade: Cascade, steps: int, guidance: float) -> Cascade:
    overrides = {"steps": steps, "guidance": guidance}
    stages = [stage.adjusted(overrides) for stage in cascade.stages]
    config = cascade.config.model_copy(update={"stages": tuple(each.config for each in stages)})
    return Cascade(config, stages, encoder=cascade.encoder)


def test_arithmetic_grows_with_steps_and_doubles_with_guidance(
    tiny: Cascade, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the text is done once; the rest is a network's, so many times."""
    few, more, guided = (
        timed(with_steps(tiny, *each), monkeypatch, 16) for each in ((2, 1.0), (4, 1.0), (4, 3.0))
    )
    once, twice, both = (each.stages[0].tflop for each in (few, more, guided))
    assert once < twice < 2 * once
    assert twice == pytest.approx(2 * once, rel=0.1)
    assert both == pytest.approx(2 * twice, rel=0.1)
    assert (few.stages[0].calls, more.stages[0].calls) == (2, 4)


def test_arithmetic_of_a_stage_is_its_own(tiny: Cascade, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages before it do not count in."""
    cascade = with_steps(tiny, 2, 1.0)
    whole = timed(cascade, monkeypatch, 32).stages
    monkeypatch.setattr(
        cascade, "stages", (cascade.stages[0].adjusted({"steps": 6}), *cascade.stages[1:])
    )
    longer = timed(cascade, monkeypatch, 32).stages
    assert longer[0].tflop > 2 * whole[0].tflop
    assert longer[1].tflop == pytest.approx(whole[1].tflop)


def test_arithmetic_is_that_of_the_convolutions(
    tiny: Cascade, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage of nothing but its first convolution would need this much; ours needs more."""
    found = timed(with_steps(tiny, 1, 1.0), monkeypatch, 16)
    stem = 2 * 16 * 16 * 8 * 3 * 9 / 1e12
    assert stem < found.stages[0].tflop < 100 * stem


def test_stages_add_up_to_a_picture(tiny: Cascade, monkeypatch: pytest.MonkeyPatch) -> None:
    found = timed(tiny, monkeypatch)
    assert found.warm_s == pytest.approx(
        sum(stage.seconds for stage in found.stages) + found.door_s
    )
    assert found.door_s > 0
    assert [(each.name, each.side) for each in found.stages] == [
        ("base", 16), ("sr32", 32), ("sr64", 64)
    ]  # fmt: skip
    nets = [sum(weight.numel() for weight in stage.net.parameters()) for stage in tiny.stages]
    assert [stage.parameters for stage in found.stages] == nets
    assert (found.cold_s, found.peak_gb, found.peak_gpu_gb) == (3.0, 0.5, None)
    assert "cold 3.00 s, at most 0.50 GB" in str(found)


def test_command_is_run_and_measured(tiny: Cascade) -> None:
    """Its memory is its own, however much this process has had."""
    gigabyte = torch.ones(2**28)
    seconds, peak = module._from_the_command(Model("emoji", "1234", tiny), 64)
    assert seconds > 0
    assert peak is not None
    assert 0.2 < peak < gigabyte.nbytes / 1e9


def test_what_the_command_says_is_passed_on(tiny: Cascade) -> None:
    with pytest.raises(OSError, match=r"generate failed.*no model nowhere"):
        module._from_the_command(Model("nowhere", "1234", tiny), 64)


def test_machine_has_a_name() -> None:
    assert machine(torch.device("cpu"))
