"""A folder of your own, from the embedded model, in minutes on a CPU.

Command:   openimagen train own_folder --data pictures --out runs/own --stage base --init emoji
           --stage all also teaches the upscalers your style. Without --init it starts from
           nothing: then give it --images 300000, and hours.
Hardware:  two CPU cores.
Time:      2 to 5 minutes: 6,000 images at 20 to 55 a second.
Cost:      a cent of a rented machine.
Score:     the folder's own: `loss_held_out` in the log, of pairs it does not train on, falls while
           it learns and rises when it copies.
"""

from openimagen.config import Recipe
from openimagen.recipes import emoji


def recipe() -> Recipe:
    """The embedded model's networks, at a gentler rate and for a shorter run."""
    start = emoji.recipe()
    update = {"learning_rate": 3e-4, "warmup_images": 500, "preview_prompts": ()}
    short = {"images": 6_000, "checkpoint_images": 2_000, "preview_images": 1_000}
    train = {name: plan.model_copy(update=update | short) for name, plan in start.train.items()}
    return Recipe(model=start.model.model_copy(update={"name": "own"}), train=train)
