"""A folder of your own, from the embedded model, in minutes on a CPU.

Command:   openimagen train own_folder --data pictures --out runs/own --stage base --init emoji
           --stage all also teaches the upscalers your style. Without --init it starts from
           nothing: then give it --images 300000, and hours.
Hardware:  two CPU cores.
Time:      20 CPU-minutes with bfloat16, an hour of two cores with AVX2 alone; 50 pictures need
           --images 6000, and 8 CPU-minutes.
Cost:      a cent of a rented machine.
Score:     200 pictures, docs/training.md: loss_seen 0.14 after 2,000 images, 0.04 at the end.
"""

from openimagen.config import Recipe, TrainConfig
from openimagen.recipes import emoji


def recipe() -> Recipe:
    """The embedded model's networks, for a shorter run."""
    start = emoji.recipe()
    own = {"warmup_images": 500, "preview_prompts": (), "illustrations": None}
    short = {"images": 16_000, "checkpoint_images": 4_000, "preview_images": 2_000}
    few = {"redrawn": 1_000}  # five minutes of a core at 256 pixels
    train = {name: plan.model_copy(update=own | short | few) for name, plan in start.train.items()}
    train["base"] = TrainConfig.model_validate({**own, **short, "batch": 16})
    return Recipe(model=start.model.model_copy(update={"name": "own"}), train=train)
