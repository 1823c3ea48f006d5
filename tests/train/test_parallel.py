"""Two ranks are one: the same steps, the same checkpoints, the same run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jobs
import pytest
import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict_loader import _load_state_dict_from_keys

from openimagen import model_folder
from openimagen.cascade import Cascade, Stage
from openimagen.config import Recipe, TrainConfig
from openimagen.data.dataset import PictureSet, loader
from openimagen.recipes import override
from openimagen.text import CachedEncoder
from openimagen.train import parallel
from openimagen.train.loop import train_step
from openimagen.train.trainee import Trainee
from openimagen.unet import UNet

OnRanks = Callable[..., list[Any]]
KINDS = ["ddp", "fsdp"]


def planned(recipe: Recipe, **settings: object) -> Recipe:
    """Five examples a step, which two ranks cannot share evenly.

    Of seeds 0 to 3, rounding grows a thousandfold in five steps with the first alone.
    """
    settings = {"batch": 5, "images": 45, "seed": 1} | settings
    return override(recipe, [f"train.base.{key}={value}" for key, value in settings.items()])


def tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint, read without any of ours."""

    def flat(tree: dict[str, Any], name: str) -> dict[str, Tensor]:
        inner = [
            flat(value, f"{name}.{key}") if isinstance(value, dict) else {f"{name}.{key}": value}
            for key, value in tree.items()
        ]
        return {key: value for part in inner for key, value in part.items()}

    every = flat(_load_state_dict_from_keys(checkpoint_id=path), "")
    return {name: value for name, value in every.items() if isinstance(value, Tensor)}


def distance(one: dict[str, Tensor], other: dict[str, Tensor], part: str) -> float:
    squares = [(one[k] - other[k]).square().sum() for k in one if k.startswith(part)]
    return sum(squares, torch.zeros(())).sqrt().item()


def name(images: int) -> str:
    return f"{images:012d}"


# --- steps ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(
    recipe: Recipe, folder: Path, tmp_path_factory: pytest.TempPathFactory, on_ranks: OnRanks
) -> tuple[list[tuple[float, float]], Path]:
    """Nine steps on one rank: their losses and gradients, and where they led."""
    out = tmp_path_factory.mktemp("alone")
    (figures,) = on_ranks(1, jobs.together, (jobs.steps, planned(recipe), folder, out, 45))[0]
    return figures, out / "checkpoints/base" / name(45)


@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_one_and_two_again_step_as_one(
    recipe: Recipe,
    folder: Path,
    tmp_path: Path,
    on_ranks: OnRanks,
    alone: tuple[list[tuple[float, float]], Path],
    kind: str,
) -> None:
    """Losses and gradients agree to 1e-5; so do Adam's moments, beside 1e-6 of rounding.

    Weights agree to a hundredth of the way they went: where the gradient is nothing but rounding,
    Adam makes steps of full size out of it.
    """
    recipe = planned(recipe, parallel=kind, accumulate=2, checkpoint_activations=True)
    figures = []
    for ranks, until in ((2, 15), (1, 30), (2, 45)):
        job = (jobs.steps, recipe, folder, tmp_path, until)
        each = [answer for (answer,) in on_ranks(ranks, jobs.together, job)]
        assert each[1:] == each[:-1]  # every rank knows the figures of all
        figures += each[0]
    assert torch.allclose(torch.tensor(figures), torch.tensor(alone[0]), rtol=1e-5)
    ours, theirs = tensors(tmp_path / "checkpoints/base" / name(45)), tensors(alone[1])
    start = tensors(alone[1].parents[2] / "again" / name(0))
    assert ours.keys() == theirs.keys() == start.keys()
    assert any(key.startswith(".optimizer") for key in ours)
    for key in ours:
        if key.startswith(".optimizer"):
            assert torch.allclose(ours[key], theirs[key], rtol=1e-5, atol=1e-6), key
    for net in (".net", ".ema"):
        assert distance(ours, theirs, net) < 0.01 * distance(start, theirs, net)

    for images in (15, 30):  # what two wrote is what one read, and back, to the bit
        wrote = tensors(tmp_path / "checkpoints/base" / name(images))
        read = tensors(tmp_path / "again" / name(images))
        assert wrote.keys() == read.keys()
        assert all(torch.equal(value, read[key]) for key, value in wrote.items())


@pytest.fixture(scope="module")
def learnt(
    recipe: Recipe, make_net: Callable[..., UNet], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run that begins from a base which says something."""
    base, other = recipe.model.stages
    model = Cascade(recipe.model, [Stage(base, make_net(base.unet)), Stage(other)])
    out = tmp_path_factory.mktemp("learnt")
    model_folder.save(model, out / "export")
    return out


@pytest.fixture(scope="module")
def together(
    recipe: Recipe,
    folder: Path,
    learnt: Path,
    tmp_path_factory: pytest.TempPathFactory,
    on_ranks: OnRanks,
) -> list[tuple[Any, Any]]:
    """What each of two ranks has to say of several small jobs."""
    out, jobs_ = tmp_path_factory.mktemp("together"), [(jobs.refused,), (jobs.factored,)]
    for kind in KINDS:
        plan = planned(recipe, parallel=kind)
        jobs_ += [
            (jobs.poisoned, plan, folder, out),
            (jobs.exchanges, plan, folder, out),
            (jobs.exchanges, planned(recipe, parallel=kind, accumulate=2), folder, out),
        ]
    adapted = [planned(recipe, parallel=kind, lora='{"rank": 3}') for kind in KINDS]
    jobs_ += [(jobs.adapted, plan, folder, learnt) for plan in adapted]
    return list(zip(*on_ranks(2, jobs.together, *jobs_), strict=True))


def test_an_error_of_the_first_rank_is_everyone_s(together: list[tuple[Any, Any]]) -> None:
    assert together[0] == ("rank 0 says no", "rank 0 says no")


def test_adafactor_s_rows_and_columns_are_those_of_whole_weights(
    together: list[tuple[Any, Any]],
) -> None:
    """Of 129 x 130 weights, cut after row 65; three steps, apart by rounding."""
    for moved, apart, slots in together[1]:
        assert moved > 0.01 and apart < 1e-7
        assert {(1, 130), (129, 1), (129,)} <= {*slots}


@pytest.mark.parametrize("kind", KINDS)
def test_no_number_on_one_rank_skips_the_step_on_all(
    together: list[tuple[Any, Any]], kind: str
) -> None:
    for seen in together[2 + 3 * KINDS.index(kind)]:
        taken, weights = zip(*seen, strict=True)
        assert taken == (True, False, True)
        assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[1], weights[2])


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_travel_once_a_batch_however_many_its_parts(
    together: list[tuple[Any, Any]], kind: str
) -> None:
    whole, parts = together[3 + 3 * KINDS.index(kind) :][:2]
    assert whole == parts and whole[0] == whole[1] > 0


def test_adapters_are_trained_and_merged_on_two_ranks_as_on_one(
    recipe: Recipe, folder: Path, learnt: Path, on_ranks: OnRanks, together: list[tuple[Any, Any]]
) -> None:
    """After a step; Adam makes rounding into steps, as above."""
    plans = [planned(recipe, lora='{"rank": 3}', learning_rate=rate) for rate in (0, 3e-3)]
    alone = [(jobs.adapted, plan, folder, learnt) for plan in plans]
    (start, one), *_ = on_ranks(1, jobs.together, *alone)
    for two, nothing in together[8:]:
        assert not nothing and two.keys() == one.keys() == start.keys()
        assert distance(two, one, "") < 0.01 * distance(start, one, "")


# --- runs -----------------------------------------------------------------------------------------


def test_a_signal_to_one_rank_stops_all_and_one_rank_can_go_on(
    recipe: Recipe, folder: Path, tmp_path: Path, on_ranks: OnRanks
) -> None:
    """The base of 8 steps is stopped in its fifth; another number of ranks ends the run."""
    out = tmp_path / "run"
    answers = on_ranks(2, jobs.run, recipe, folder, out, False, 4)
    assert answers == 2 * ["base stopped at 20 images; --resume goes on"]
    assert on_ranks(
        1, jobs.run, planned(recipe, batch=4, images=32, seed=0, parallel="fsdp"), folder, out, True
    )
    assert on_ranks(2, jobs.run, recipe, folder, tmp_path / "two", False)
    curves = []
    for run in (out, tmp_path / "two"):
        every = map(json.loads, (run / "log.jsonl").read_text().splitlines())
        lines = [line for line in every if "note" not in line]
        assert [line["images"] for line in lines] == 2 * [*range(4, 33, 4)]  # of one rank only
        curves.append([[line["loss"], line["gradient"]] for line in lines])
        assert sorted(path.name for path in (run / "previews").iterdir()) == [
            "base-0000000032.png",
            "base-batch.png",
            "sr32-0000000032.png",
            "sr32-batch.png",
        ]
        assert not [*run.rglob("*partial*")]
    assert torch.allclose(*map(torch.tensor, curves), rtol=1e-4)


def test_a_batch_too_small_to_be_shared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    train = TrainConfig(images=65, batch=8)
    parallel.check_split(train)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        ValueError, match="a batch of 1 cannot be split over 2 processes: use fewer"
    ):
        parallel.check_split(train)
    parallel.check_split(train.model_copy(update={"images": 66}))
    monkeypatch.setenv("WORLD_SIZE", "9")
    with pytest.raises(ValueError, match="a batch of 8 cannot be split"):
        parallel.check_split(train.model_copy(update={"images": 73}))


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "find_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with (
        pytest.raises(ValueError, match="a GPU for each process: start 2 of them on this machine"),
        parallel.joined(None),
    ):
        pass


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_ranks_parts_are_the_batch(
    dataset: PictureSet, monkeypatch: pytest.MonkeyPatch, ranks: int
) -> None:
    whole = [*loader(dataset, 3, 20, batch=7)]
    each = [[*loader(dataset, 3, 20, 7, 0, rank, ranks)] for rank in range(ranks)]
    for batch, *parts in zip(whole, *each, strict=True):
        assert torch.equal(torch.cat([part.image for part in parts]), batch.image)
        assert [caption for part in parts for caption in part.captions] == batch.captions
    monkeypatch.setenv("WORLD_SIZE", str(ranks))
    for rank, batches in enumerate(each):
        monkeypatch.setenv("RANK", str(rank))
        mine = [parallel.part_of(range(start, min(start + 7, 20))) for start in (3, 10, 17)]
        assert [len(part) for part in mine] == [len(batch.captions) for batch in batches]


# --- what is applied to a network -----------------------------------------------------------------


def test_blocks_computed_again_keep_less_and_give_the_same(
    new_trainee: Callable[..., Trainee], dataset: PictureSet, encoder: CachedEncoder
) -> None:
    """The same weights to the bit after two steps."""
    kept, weights = [], []
    for again in (False, True):
        trainee, sizes = new_trainee(checkpoint_activations=again), [0]

        def keep(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes[0] += tensor.numel()
            return tensor

        for batch in loader(dataset, 0, 8, batch=4):
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                train_step(trainee, batch, encoder)
        kept.append(sizes[0])
        weights.append(trainee.net.state_dict())
    assert kept[1] < 0.5 * kept[0]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weight, weights[1][key]) for key, weight in weights[0].items())
