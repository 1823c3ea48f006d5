"""A run: a recipe, a folder of captioned pictures, and what comes of them, stage after stage."""

import dataclasses
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice, pairwise
from pathlib import Path

import torch
from pydantic import ValidationError

from openimagen import embeddings, model_folder, recipes
from openimagen.cascade import Cascade, Stage
from openimagen.config import Recipe, StageConfig
from openimagen.data.dataset import PictureSet, loader
from openimagen.data.folder import Pictures
from openimagen.data.illustrations import read_illustrations
from openimagen.data.source import Source, open_source
from openimagen.device import free_memory, has_bfloat16
from openimagen.files import write_whole
from openimagen.text import CachedEncoder, Encoder, TextEncoder
from openimagen.train import checkpoint, parallel, redrawn
from openimagen.train.loop import Interrupted, stop_on_signal, train_stage
from openimagen.train.lora import adapt
from openimagen.train.memory import check_memory, memory_of
from openimagen.train.no_room import telling_of_no_room
from openimagen.train.parallel import on_first
from openimagen.train.prior import draw_prior
from openimagen.train.run_data import (
    default_workers,
    open_data,
    pictures_of,
    report_data,
    report_faults,
    whole,
)
from openimagen.train.step import seed_of
from openimagen.train.trainee import Trainee
from openimagen.unet import UNet

FREE = (  # between starts: how long, how computed, when seen, and what tames a run gone wrong
    *("images", "accumulate", "parallel", "checkpoint_activations", "compile"),
    *("checkpoint_images", "preview_images", "preview_prompts", "keep"),
    *("learning_rate", "clip", "spike"),
)


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    stage: str = "all",
    init: Path | None = None,
    resume: bool = False,
    device: str | None = None,
    workers: int | None = None,
) -> Path:
    """Train one stage of a recipe, or all in turn; returns the model folder, `out`/export.

    `data`: captioned pictures, as `open_source` takes them; `workers`: processes that read them.
    `init`: a model folder to start from; stages that are not trained are taken from it as they are.
    Started by torchrun, every process calls it and the first one writes.
    Raises ValueError for a request that cannot be met: an unknown stage, a run that is there
    already, or is another one; nothing is written then. OSError if the disk is full, or a quota:
    the last checkpoint is whole.
    """
    chosen = chosen_stages(recipe, stage)
    with parallel.joined(device) as where, telling_of_no_room(out):
        recipe = resolved(recipe, where)
        torch.backends.cudnn.benchmark = True  # sizes stay: it pays to try what is fastest
        check_run(recipe, out, resume)
        check_apart(data, out)
        source = open_source(data)
        if composes(recipe, chosen):
            read_illustrations(data)
        if not (init or resume):
            check_fresh(recipe, chosen)
        given = given_stages(recipe, chosen, init) if init else []
        made = exported(out, [config.name for config in recipe.model.stages]) if resume else {}
        check_below(recipe, chosen, [*given, *made.values()])
        encoder = encoder_for(recipe, chosen, data, source, where)
        check_width(recipe, encoder)
        check_room(recipe, chosen, where)

        on_first(begin, recipe, out, given)
        on_first(draw_priors, recipe, chosen, out, encoder, where)
        for name in chosen:
            run_stage(recipe, name, data, source, encoder, out, where, workers)
    return out / "export"


def run_stage(
    recipe: Recipe,
    name: str,
    data: Path,
    source: Source,
    encoder: Encoder,
    out: Path,
    device: torch.device,
    workers: int | None,
) -> None:
    """Train a stage to its end and export it. Its network is gone when the ranks part."""
    trainee = make_trainee(recipe, name, out, device)
    if not trainee.is_done:
        if trainee.train.redrawn:
            on_first(draw_lessons, recipe, data, source, trainee, encoder, out)
        with parallel.machine_by_machine():
            dataset = open_data(data, source, trainee, out)
        report: Callable[[], None] = partial(report_faults, data, dataset, out)
        if trainee.train.redrawn:  # there is one, of what was drawn again
            report = do_nothing
        report()
        ahead = default_workers(dataset, device) if workers is None else workers
        train_stage(trainee, dataset, encoder, out, ahead, report)
    on_first(export, recipe, [Stage(trainee.config, trainee.drawing_net())], out)


def do_nothing() -> None:
    """At a checkpoint."""


def chosen_stages(recipe: Recipe, stage: str) -> list[str]:
    """Names of the stages to train. ValueError if one is not there, or cannot be shared."""
    names = [config.name for config in recipe.model.stages]
    if stage not in ("all", *names):
        raise ValueError(f"the recipe has no stage {stage}: use all or one of {', '.join(names)}")
    chosen = names if stage == "all" else [stage]
    for name in chosen:
        parallel.check_split(recipe.train[name])
    return chosen


def resolved(recipe: Recipe, device: torch.device) -> Recipe:
    """The recipe with the precision that "auto" means on this device."""
    native = "bfloat16" if has_bfloat16(device) else "float32"
    train = {
        name: settings.model_copy(update={"precision": native})
        if settings.precision == "auto"
        else settings
        for name, settings in recipe.train.items()
    }
    return recipe.model_copy(update={"train": train})


def check_room(recipe: Recipe, chosen: Sequence[str], device: torch.device) -> None:
    """Refuse a stage that this process, beside the others of its machine, has no memory for."""
    free, on_cpu = free_memory(device), device.type == "cpu"
    if free is not None and on_cpu:
        free //= parallel.local_ranks()
    for name in chosen:
        stage, scale = stage_of(recipe, name)
        tokens, ranks = recipe.model.text.max_tokens, parallel.ranks()
        memory = memory_of(stage, recipe.train[name], scale, tokens, ranks, on_cpu)
        said = check_memory(stage, recipe.train[name], memory, ranks, free)
        if parallel.is_first():
            print(said, file=sys.stderr)


def stage_of(recipe: Recipe, name: str) -> tuple[StageConfig, int]:
    """A stage, and how much larger it is than the one below; 1 for the base."""
    stages = recipe.model.stages
    number = [config.name for config in stages].index(name)
    return stages[number], stages[number].side // stages[number - 1].side if number else 1


def encoder_for(
    recipe: Recipe, chosen: Sequence[str], data: Path, source: Source, device: torch.device
) -> Encoder:
    """What embeds the captions: the embeddings next to the data; if there are none, the encoder.

    ValueError if they are another encoder's, or lack a caption that is known to come.
    """
    endless = composes(recipe, chosen)  # new captions, all the time
    if endless:  # hardly a caption comes twice
        fast = all(recipe.train[name].precision == "bfloat16" for name in chosen)
        dtype = torch.bfloat16 if fast else torch.float32
        return TextEncoder.load(recipe.model.text, device, dtype)
    found = embeddings.find(data, recipe.model.text, device)
    if found is None:
        return CachedEncoder(TextEncoder.load(recipe.model.text, device))
    captions = embeddings.prompts_of(recipe, chosen)
    if isinstance(source, Pictures):
        captions += [caption for pair in source.pairs for caption in pair.captions]
    found.check(captions)
    return found


def composes(recipe: Recipe, chosen: Sequence[str]) -> bool:
    """Whether a stage is shown what is composed of icons, with captions made up on the way."""
    return any(recipe.train[name].illustrations for name in chosen)


# --- the run's folder -----------------------------------------------------------------------------


def check_width(recipe: Recipe, encoder: Encoder) -> None:
    """Refuse a network that is made for other text states than the encoder's."""
    for stage in recipe.model.stages:
        if stage.unet.text_width != encoder.width:
            raise ValueError(
                f"model.stages.{stage.name}.unet.text_width is {stage.unet.text_width}: "
                f"{recipe.model.text.encoder} gives {encoder.width}"
            )


def check_run(recipe: Recipe, out: Path, resume: bool) -> None:
    """Refuse to go on with a run that is not there, or is another one; or to write over one.

    What may change, and did, is said.
    """
    path = out / "config.json"
    if not path.exists():
        if resume:
            raise ValueError(f"{out} holds no run to go on with: leave --resume out")
        if out.exists() and not out.is_dir():
            raise ValueError(f"{out} is a file: --out needs the name of a folder")
        if (out / "export").exists():
            raise ValueError(f"{out} holds a model but no run: name another folder")
        return
    if not resume:
        raise ValueError(f"{out} holds a run: go on with --resume, or name another folder")
    try:
        begun = Recipe.model_validate_json(path.read_bytes())
    except ValidationError:
        raise ValueError(f"{path} is damaged, or of another version of openimagen") from None
    allowed, refused = changes(begun, recipe)
    if refused:
        raise ValueError(
            f"{out} was begun with other settings: {'; '.join(refused)}. "
            f"Only {', '.join(FREE)} of a stage may change: restore the others, "
            "or name another folder"
        )
    if allowed and parallel.is_first():
        print(f"{out}: since it was begun, {'; '.join(allowed)}", file=sys.stderr)


def check_apart(data: Path, out: Path) -> None:
    """Refuse a run among its own data, which would come to include the pictures that it draws."""
    if data.is_dir() and out.resolve().is_relative_to(data.resolve()):
        raise ValueError(f"--out {out} lies in --data {data}: name a folder elsewhere")


def changes(begun: Recipe, now: Recipe) -> tuple[list[str], list[str]]:
    """Settings that differ, in words: those that may, `FREE`, and those that may not."""
    before, after = recipes.settings(begun), recipes.settings(now)
    free = {f"train.{name}.{setting}" for name in now.train for setting in FREE}
    allowed, refused = list[str](), list[str]()
    for key in before | after:
        if before.get(key) != after.get(key):
            words = f"{key} was {before.get(key)}, is {after.get(key)}"
            (allowed if ".".join(key.split(".")[:3]) in free else refused).append(words)
    return allowed, refused


def begin(recipe: Recipe, out: Path, given: Sequence[Stage]) -> None:
    """Make the run's folder, its model folder holding the stages that are given and not yet made.

    From there they are read, so that a resumed run does not depend on --init. A folder with
    config.json is a run: the stages are whole by then, and take their place.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name, train in recipe.train.items():
        checkpoint.clear(out / "checkpoints" / name, train.keep)
    config, first = out / "config.json", out / ".begin"
    if not config.exists():
        shutil.rmtree(first, ignore_errors=True)
        if given:
            export(recipe, given, first)
    for left in out.glob(".*.partial"):  # of a run that was killed
        left.unlink(missing_ok=True)
    write_whole(config, recipe.model_dump_json(indent=1) + "\n")
    if (first / "export").exists():
        (first / "export").rename(out / "export")
    shutil.rmtree(first, ignore_errors=True)
    made = exported(out, [stage.config.name for stage in given])
    if new := [stage for stage in given if stage.config.name not in made]:
        export(recipe, new, out)


def exported(out: Path, names: Sequence[str]) -> dict[str, Stage]:
    """Those of the named stages that have weights in the run's model folder."""
    if not names or not (out / "export/model.json").exists():
        return {}
    stages = model_folder.load(out / "export", stages=names).stages
    return {stage.config.name: stage for stage in stages if stage.net is not None}


def export(recipe: Recipe, stages: Sequence[Stage], out: Path) -> None:
    """Write stages into the run's model folder, beside those that are there already."""
    known = {stage.config.name: stage for stage in stages}
    known |= exported(out, [c.name for c in recipe.model.stages if c.name not in known])
    every = [known.get(config.name, Stage(config)) for config in recipe.model.stages]
    config = recipe.model.model_copy(update={"stages": tuple(stage.config for stage in every)})
    model_folder.save(Cascade(config, every), out / "export")


# --- what a stage starts from ---------------------------------------------------------------------


def given_stages(recipe: Recipe, chosen: Sequence[str], init: Path) -> list[Stage]:
    """The trained stages of the model `init`. ValueError if the recipe cannot use them."""
    model = model_folder.load(init)
    if model.config.text != recipe.model.text:
        raise ValueError(f"--init {init}: its text encoder is another than the recipe's")
    wanted = {config.name: config for config in recipe.model.stages}
    given = [stage for stage in model.stages if stage.net and stage.config.name in wanted]
    for stage in given:
        ours, name = wanted[stage.config.name], stage.config.name
        fits = ours.unet == stage.config.unet if name in chosen else ours.side == stage.config.side
        if not fits:
            raise ValueError(
                f"--init {init}: its stage {name} is another network than the recipe's; "
                "use the recipe that made it, or leave --init out"
            )
    return given


def check_fresh(recipe: Recipe, chosen: Sequence[str]) -> None:
    """Refuse a run from nothing for what only a trained model can do."""
    for name in chosen:
        if key := next(
            (key for key in ("lora", "prior") if getattr(recipe.train[name], key)), None
        ):
            raise ValueError(f"train.{name}.{key} needs a trained model: give --init MODEL")


def check_below(recipe: Recipe, chosen: Sequence[str], given: Sequence[Stage]) -> None:
    """Refuse to show a stage what the one below it draws, if that is not trained by then."""
    trained = {stage.config.name for stage in given} | {*chosen}
    for below, stage in pairwise(config.name for config in recipe.model.stages):
        if stage in chosen and recipe.train[stage].redrawn and below not in trained:
            raise ValueError(
                f"train.{stage}.redrawn needs {below}: give it as --init MODEL, train all stages, "
                f"or show {stage} plain pictures, --set train.{stage}.redrawn=0"
            )


def make_trainee(recipe: Recipe, name: str, out: Path, device: torch.device) -> Trainee:
    """A stage as its last checkpoint left it; else as it was given to the run; else fresh."""
    (config, scale), train = stage_of(recipe, name), recipe.train[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(train.seed, recipe.model.stages.index(config)))
        net = UNet(config.unet)
        found = on_first(checkpoint.latest, out / "checkpoints" / name)
        for given in exported(out, [] if found else [name]).values():
            net.load_state_dict(given.trained().state_dict())
        if train.lora is not None:
            adapt(net, train.lora)
    trainee = Trainee(config, train, scale, net, device)
    if found:
        trainee.load(found)
    return trainee


def draw_priors(
    recipe: Recipe, chosen: Sequence[str], out: Path, encoder: Encoder, device: torch.device
) -> None:
    """Have the model that the run starts from draw what it should keep, unless that is done."""
    for name in chosen:
        prior = recipe.train[name].prior
        if prior is not None and checkpoint.latest(out / "checkpoints" / name) is None:
            model = model_folder.load(out / "export", device)
            model = dataclasses.replace(model, encoder=encoder)
            draw_prior(model, prior, stage_of(recipe, name)[0].side, out / "prior" / name)


def draw_lessons(
    recipe: Recipe, data: Path, source: Source, trainee: Trainee, encoder: Encoder, out: Path
) -> None:
    """Have the stage below draw again what a stage is to be shown, unless that is done."""
    names = [config.name for config in recipe.model.stages]
    count, folder = trainee.train.redrawn, out / "redrawn" / trainee.config.name
    if not (numbers := redrawn.left(folder, count)):
        return
    number = names.index(trainee.config.name)
    model = model_folder.load(out / "export", trainee.device, stages=names[number - 1 : number])
    dataset = pictures_of(data, source, trainee, whole(trainee))
    first = numbers.start if isinstance(dataset, PictureSet) else 0  # a stream begins at its start
    batches = loader(dataset, first, count, redrawn.TOGETHER)
    lessons = islice(batches, (numbers.start - first) // redrawn.TOGETHER, None)
    model = dataclasses.replace(model, encoder=encoder)
    with stop_on_signal() as signals:
        for done in redrawn.draw_again(model, number, lessons, numbers, folder):
            if signals:
                stage = trainee.config.name
                said = f"{stage} stopped with {done} of {count} lessons drawn"
                raise Interrupted(f"{said}; --resume goes on")
    report_data(data, dataset, dataset.faults, out)
