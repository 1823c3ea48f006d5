"""A model folder gives back what went in, to the bit, and refuses whatever is not that."""

import hashlib
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from safetensors.torch import save as save_tensors

from openimagen import model_folder
from openimagen.cascade import Cascade, Stage
from openimagen.model_folder import load, read_model_file, save


def weights_of(cascade: Cascade) -> dict[str, dict[str, torch.Tensor]]:
    return {
        stage.config.name: stage.net.state_dict()
        for stage in cascade.stages
        if stage.net is not None
    }


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change model.json."""
    contents = json.loads((folder / "model.json").read_text())
    change(contents)
    (folder / "model.json").write_text(json.dumps(contents))


def weights_file(folder: Path, stage: str) -> Path:
    return folder / read_model_file(folder).weights[stage].file


def replace_weights(folder: Path, stage: str, blob: bytes) -> None:
    """Other bytes for a stage, under the name and hash that model.json promises."""
    weights_file(folder, stage).write_bytes(blob)
    sha256 = hashlib.sha256(blob).hexdigest()
    rewrite(folder, lambda contents: contents["weights"][stage].update(sha256=sha256))


# --- round trips ----------------------------------------------------------------------------------


def test_a_saved_cascade_loads_to_the_bit_and_draws_the_same(
    tiny: Cascade, tiny_folder: Path
) -> None:
    loaded = load(tiny_folder)
    assert loaded.config == tiny.config
    for name, theirs in weights_of(tiny).items():
        ours = weights_of(loaded)[name]
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    loaded.encoder = tiny.encoder
    for ours, theirs in zip(*(c.sample(["a fox"], [1]) for c in (loaded, tiny)), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    for stage in loaded.stages:
        assert not stage.trained().training
        assert not any(weight.requires_grad for weight in stage.trained().parameters())


def test_bfloat16_weights_load_as_their_rounded_values(tiny: Cascade, tmp_path: Path) -> None:
    save(tiny, tmp_path / "exact")
    save(tiny, tmp_path / "rounded", torch.bfloat16)
    sizes = [weights_file(tmp_path / name, "sr32").stat().st_size for name in ("exact", "rounded")]
    assert sizes[1] < 0.7 * sizes[0]
    loaded = weights_of(load(tmp_path / "rounded"))
    for name, theirs in weights_of(tiny).items():
        for key, weight in theirs.items():
            assert torch.equal(loaded[name][key], weight.bfloat16().float())
    assert next(tiny.stages[0].trained().parameters()).dtype == torch.float32  # left alone


def test_weights_in_eight_bits_load_as_numbers_near_them(tiny: Cascade, tmp_path: Path) -> None:
    save(tiny, tmp_path, torch.int8)
    large = 0
    for name, ours in weights_of(load(tmp_path)).items():
        for key, weight in weights_of(tiny)[name].items():
            assert ours[key].shape == weight.shape
            step = weight.abs().max().item() / 127
            torch.testing.assert_close(ours[key], weight, rtol=1e-2, atol=0.51 * step)
            large += not torch.equal(ours[key], weight.bfloat16().float())
    assert large


def test_eight_bits_without_their_scales_are_refused(tiny: Cascade, tmp_path: Path) -> None:
    save(tiny, tmp_path, torch.int8)
    tensors = load_file(weights_file(tmp_path, "base"))
    lost = next(name for name in tensors if name.endswith(".scale"))
    replace_weights(tmp_path, "base", save_tensors({n: t for n, t in tensors.items() if n != lost}))
    with pytest.raises(ValueError, match="does not fit the network"):
        load(tmp_path)


def test_networks_in_channels_last_order_are_saved_the_same(tiny: Cascade, tmp_path: Path) -> None:
    save(tiny, tmp_path / "model")
    before = (tmp_path / "model" / "model.json").read_bytes()
    for stage in tiny.stages:
        stage.trained().to(memory_format=torch.channels_last)
    save(tiny, tmp_path / "model")
    assert (tmp_path / "model" / "model.json").read_bytes() == before  # hashes and all


def test_untrained_stages_are_kept_as_such(tiny: Cascade, tmp_path: Path) -> None:
    half = replace(tiny, stages=[tiny.stages[0], *(Stage(s.config) for s in tiny.stages[1:])])
    save(half, tmp_path)
    assert [stage.net is None for stage in load(tmp_path).stages] == [False, True, True]
    assert len(list(tmp_path.glob("*.safetensors"))) == 1


def test_a_run_is_answered_with_its_model(tiny: Cascade, tmp_path: Path) -> None:
    save(tiny, tmp_path / "export")
    with pytest.raises(ValueError, match=f"it is a run, its model is {tmp_path}/export$"):
        load(tmp_path)


def test_wanted_stages_alone_are_loaded(tiny_folder: Path) -> None:
    weights_file(tiny_folder, "base").unlink()
    cascade = load(tiny_folder, stages=["sr32"])
    assert [stage.net is None for stage in cascade.stages] == [True, False, True]


# --- saving again ---------------------------------------------------------------------------------


def change_weights(cascade: Cascade) -> None:
    with torch.no_grad():
        cascade.stages[1].trained().stem.bias.add_(1)


def test_saving_again_replaces_the_model_and_nothing_else(tiny: Cascade, tiny_folder: Path) -> None:
    (tiny_folder / "MODEL_CARD.md").write_text("mine")
    old, same = (weights_file(tiny_folder, stage) for stage in ("sr32", "base"))
    change_weights(tiny)
    save(tiny, tiny_folder)
    new = weights_file(tiny_folder, "sr32")
    assert not old.exists() and new.exists() and weights_file(tiny_folder, "base") == same
    assert torch.equal(load_file(new)["stem.bias"], tiny.stages[1].trained().stem.bias)
    expected = {"MODEL_CARD.md", "model.json"}
    expected |= {weights_file(tiny_folder, stage).name for stage in ("base", "sr32", "sr64")}
    assert {path.name for path in tiny_folder.iterdir()} == expected


@pytest.mark.parametrize("writes", range(4))
def test_a_save_cut_short_leaves_the_old_model(
    tiny: Cascade, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    before = weights_of(load(tiny_folder))
    change_weights(tiny)
    real, left = Path.replace, iter(range(writes))

    def cut_short(self: Path, target: Path) -> Path:
        if next(left, None) is None:
            raise OSError("disk full")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", cut_short)
    with pytest.raises(OSError, match="disk full"):
        save(tiny, tiny_folder)
    after = weights_of(load(tiny_folder))
    assert torch.equal(after["sr32"]["stem.bias"], before["sr32"]["stem.bias"])


@pytest.mark.parametrize(("act", "times"), [("replace", 1), ("unlink", 0)])
def test_what_a_save_cut_short_left_goes_with_the_next(
    tiny: Cascade, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, act: str, times: int
) -> None:
    """Half a file; and one that model.json did not name any more."""
    real, left = getattr(Path, act), iter(range(times))

    def cut_short(*given: Any, **more: Any) -> Any:  # noqa: ANN401  (as Path has it)
        if next(left, None) is None:
            raise OSError("disk full")
        return real(*given, **more)

    mine = {"sr32-mine.safetensors", "mine-01234567.safetensors"}
    for name in mine:
        (tiny_folder / name).touch()
    for file in ("sr32-01234567.safetensors", "model.json"):
        (tiny_folder / f".{file}.0a1b2c3d.partial").touch()  # of one that was killed
    change_weights(tiny)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
        patch.setattr(Path, act, cut_short)
        save(tiny, tiny_folder)
    change_weights(tiny)
    save(tiny, tiny_folder)
    weights = {weights_file(tiny_folder, stage).name for stage in ("base", "sr32", "sr64")}
    assert {path.name for path in tiny_folder.iterdir()} == {"model.json"} | mine | weights


def test_saving_never_writes_or_deletes_outside_its_folder(tiny: Cascade, tmp_path: Path) -> None:
    precious = tmp_path / "precious.safetensors"
    precious.write_text("mine")
    folder = tmp_path / "model"
    save(tiny, folder)
    rewrite(folder, lambda c: c["weights"]["base"].update(file="../precious.safetensors"))
    save(tiny, folder)
    assert precious.exists()
    first = tiny.stages[0].config.model_copy(update={"name": "../escaped"})
    stages = [replace(tiny.stages[0], config=first), *tiny.stages[1:]]
    with pytest.raises(ValueError, match="needs a name that a file can have"):
        save(replace(tiny, stages=stages), folder)
    assert [path.name for path in tmp_path.glob("*escaped*")] == []


# --- what is refused ------------------------------------------------------------------------------


def flip_a_byte(folder: Path) -> None:
    path = weights_file(folder, "sr32")
    blob = bytearray(path.read_bytes())
    blob[-100] ^= 1
    path.write_bytes(blob)


def put_a_pickle(folder: Path) -> None:
    weights_file(folder, "base").write_bytes(pickle.dumps({"stem.bias": [0.0]}))


def put_a_promised_pickle(folder: Path) -> None:
    replace_weights(folder, "base", pickle.dumps({"stem.bias": [0.0]}))


def put_a_promised_checkpoint(folder: Path) -> None:
    torch.save({"stem.bias": torch.zeros(8)}, folder / "checkpoint.pt")
    replace_weights(folder, "base", (folder / "checkpoint.pt").read_bytes())


def put_half_a_file(folder: Path) -> None:
    replace_weights(folder, "base", weights_file(folder, "base").read_bytes()[:5000])


def put_other_weights(folder: Path) -> None:
    replace_weights(folder, "base", weights_file(folder, "sr32").read_bytes())


def drop_a_tensor(folder: Path) -> None:
    state = load_file(weights_file(folder, "base"))
    del state["stem.bias"]
    save_file(state, folder / "less.safetensors")
    replace_weights(folder, "base", (folder / "less.safetensors").read_bytes())


def claim(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    return lambda folder: rewrite(folder, change)


def elsewhere(file: str) -> Callable[[Path], None]:
    return claim(lambda contents: contents["weights"]["base"].update(file=file))


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed byte": (flip_a_byte, r"sr32.*has changed since it was written"),
    "pickle": (put_a_pickle, r"base.*has changed since it was written"),
    "pickle, right hash": (put_a_promised_pickle, r"base.*is no safetensors file"),
    "torch.save, right hash": (put_a_promised_checkpoint, r"base.*is no safetensors file"),
    "cut, right hash": (put_half_a_file, r"base.*is no safetensors file"),
    "another stage's weights": (put_other_weights, r"base.*does not fit the network"),
    "a tensor less": (drop_a_tensor, r"base.*does not fit the network"),
    "missing weights": (lambda f: weights_file(f, "sr64").unlink(), r"lacks sr64"),
    "missing model.json": (lambda f: (f / "model.json").unlink(), r"is no model folder"),
    "missing stage": (claim(lambda c: c["model"]["stages"].pop()), r"weights for \['sr64'\]"),
    "no stage": (claim(lambda c: c["model"].update(stages=[])), r"model.*at least one stage"),
    "unknown key": (claim(lambda c: c["model"].update(license="")), r"model\.license"),
    "unknown sampler": (
        claim(lambda c: c["model"]["stages"][0]["sampling"].update(sampler="euler")),
        r"model\.stages\.0\.sampling\.sampler.*'ddpm'",
    ),
    "wrong type": (claim(lambda c: c["model"].update(stages=3)), r"model\.stages"),
    "huge": (
        claim(lambda c: c["model"]["stages"][0]["unet"].update(width=10**15)),
        r"does not fit the network",
    ),
    "beyond count": (
        claim(lambda c: c["model"]["stages"][0]["unet"].update(width=10**30)),
        r"unet\.width: Input should be less than",
    ),
    "newer": (claim(lambda c: c.update(format_version=2)), r"version 2.*upgrade openimagen"),
    "no version": (claim(lambda c: c.pop("format_version")), r"model\.json is damaged"),
    "odd version": (claim(lambda c: c.update(format_version="new")), r"model\.json is damaged"),
    "half a json": (lambda f: (f / "model.json").write_text('{"format_version"'), r"is damaged"),
    "a list": (lambda f: (f / "model.json").write_text("[1]"), r"is damaged"),
    "not text": (lambda f: (f / "model.json").write_bytes(b"\xff\xfe\x00"), r"is damaged"),
    "deep": (lambda f: (f / "model.json").write_text("[" * 200_000), r"is damaged"),
    "parent folder": (elsewhere("../base.safetensors"), r"no safetensors file beside it"),
    "absolute path": (elsewhere("/etc/passwd.safetensors"), r"no safetensors file beside it"),
    "Windows path": (elsewhere("..\\base.safetensors"), r"no safetensors file beside it"),
    "other suffix": (elsewhere("base.pt"), r"no safetensors file beside it"),
    "no name": (elsewhere(""), r"no safetensors file beside it"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_folder_that_is_not_the_model_is_refused_in_one_line(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    break_it, message = FAULTS[fault]
    break_it(tiny_folder)
    monkeypatch.setattr(pickle, "Unpickler", None)
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(ValueError, match=message) as refusal:
        load(tiny_folder)
    assert "\n" not in str(refusal.value)
    assert str(tiny_folder) in str(refusal.value)
    assert type(refusal.value) is ValueError


def test_a_pickle_with_a_body_is_not_run(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    monkeypatch.setattr(model_folder, "ran", ran, raising=False)

    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return exec, ("import openimagen.model_folder as m; m.ran.append('boom')",)

    bomb = pickle.dumps(Bomb())
    pickle.loads(bomb)
    assert ran == ["boom"]  # it would go off
    ran.clear()
    replace_weights(tiny_folder, "base", bomb)
    with pytest.raises(ValueError, match="no safetensors file"):
        load(tiny_folder)
    assert ran == []
