"""What a run is measured on again and again: the same pairs, under the same noise.

Pairs it never trains on say whether it learns or copies; the same pairs without their text, whether
it reads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from openimagen.data.batch import below_of
from openimagen.data.dataset import Example, Examples
from openimagen.text import Encoder
from openimagen.train.step import BatchShare, Noised, loss_of, prepare
from openimagen.train.trainee import Trainee

PAIRS = 64  # of a probe, each at a noise level of its own; fewer pictures come several times
NOISE_SEED = 1_000_003  # keeps their noise apart from that of training
GAIN = 0.01  # of the loss without text: what text should save at least,
DUE = 5_000  # images into the run, and a quarter of it


def probe_pairs(dataset: Examples) -> dict[str, list[Example]]:
    """Pairs that the run trains on, and pairs that are held out, if there are any."""
    sets = {"loss_seen": dataset.first(PAIRS), "loss_held_out": dataset.held_out(PAIRS)}
    return {name: examples for name, examples in sets.items() if examples}


@torch.no_grad()
def probe(
    trainee: Trainee, pairs: Mapping[str, Sequence[Example]], encoder: Encoder
) -> dict[str, float]:
    """Mean losses of the averaged network, with the texts and without. All ranks call it."""
    losses = {}
    for name, examples in pairs.items():
        noised = _noised(examples, trainee, encoder)
        losses[name] = _loss(trainee, noised)
        losses[f"{name}_no_text"] = _loss(trainee, replace(noised, text=noised.text.null()))
    return losses


def doubt_of(trainee: Trainee, losses: Mapping[str, float]) -> str | None:
    """A sentence for a base that hardly reads its texts when it should."""
    due = max(DUE, trainee.train.images / 4)
    if trainee.config.unet.lowres or not losses or trainee.images < due:
        return None
    reads, blind = losses["loss_seen"], losses["loss_seen_no_text"]
    if blind - reads >= GAIN * blind:
        return None
    return (
        f"the text hardly counts: loss {reads:.4g} with it, {blind:.4g} without. More images, or "
        "more noise in training, bring it in; and do the captions tell the pictures apart?"
    )


def _noised(examples: Sequence[Example], trainee: Trainee, encoder: Encoder) -> Noised:
    """PAIRS of the examples in turn, at noise levels spread over the schedule, no text dropped."""
    every = range(PAIRS)
    some = [examples[number % len(examples)] for number in every]
    plan = trainee.train.model_copy(update={"seed": NOISE_SEED, "text_drop": 0.0, "pool_drop": 0.0})
    text = encoder([example.caption for example in some]).to(trainee.device, torch.float32)
    image = torch.stack([example.image for example in some])
    share, below = BatchShare(every, every), below_of(some)
    return prepare(trainee.config, plan, image, text, trainee.scale, share, below)


def _loss(trainee: Trainee, noised: Noised) -> float:
    """In parts as small as those of a training step."""
    most = -(-trainee.train.batch // trainee.train.accumulate)
    parts = -(-PAIRS // min(most, PAIRS))
    is_bf16 = trainee.train.precision == "bfloat16"
    total = 0.0
    with torch.autocast(trainee.device.type, torch.bfloat16, enabled=is_bf16):
        for number in range(parts):
            part = noised.part(number, parts)
            total += loss_of(trainee.ema.net, trainee.config, part).sum().item()
    return total / PAIRS
