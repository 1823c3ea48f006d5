"""A subject of your own, a handful of pictures, without forgetting the rest (DreamBooth).

Command:   openimagen train dreambooth --data pictures --out runs/zorb --stage base --init emoji
           Caption the pictures with a word that means nothing yet, "a zorb toy", and name what the
           model should still draw: --set 'train.base.prior.prompts=["a toy", "a robot"]'
Hardware:  two CPU cores.
Time:      6,000 images, 8 CPU-minutes; half a minute for the 64 pictures drawn beforehand.
Cost:      a cent of a rented machine.
Score:     see own_folder; previews draw your captions and the prompts in turn.
"""

from openimagen.config import Prior, Recipe
from openimagen.recipes import emoji, own_folder


def recipe() -> Recipe:
    """own_folder, gentler; every other picture is one that the model drew before it learned."""
    start = own_folder.recipe()
    prior = {"prior": Prior(prompts=emoji.PROMPTS), "redrawn": 0}
    update = prior | {"images": 6_000, "learning_rate": 3e-4}
    train = {name: plan.model_copy(update=update) for name, plan in start.train.items()}
    return Recipe(model=start.model, train=train)
