r"""The paper's first super-resolution model (appendix F.2): 613M parameters, 64 -> 256, T5-XXL.

Command:   openimagen train paper_sr256 --stage sr256 --data 'laion/{00000..41455}.tar' \
               --out runs/sr256           (--init runs/base/export)
Hardware:  the paper's: 128 TPU-v4. Ours by count: 0.59 TFLOP a picture forward, 9.0e21 in all.
Time:      6,300 H100-hours at 40% of 989 TFLOP/s; nobody has run it here.
Cost:      $16,000 at $2.50 an H100-hour.
Score:     see paper_base64.
"""

from openimagen.config import Recipe
from openimagen.paper import PAPER_SR256
from openimagen.recipes import paper_base64

TRAIN = paper_base64.TRAIN.model_copy(update={"optimizer": "adamw", "betas": (0.9, 0.999)})


def recipe() -> Recipe:
    """The base and the stage above it; Adam with the paper's betas."""
    below = paper_base64.recipe()
    stages = (*below.model.stages, PAPER_SR256)
    return Recipe(
        model=below.model.model_copy(update={"stages": stages}),
        train={**below.train, "sr256": TRAIN},
    )
