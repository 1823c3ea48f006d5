r"""The paper's second super-resolution model (appendix F.3): 429M parameters, 256 -> 1024, T5-XXL.

Command:   openimagen train paper_sr1024 --stage sr1024 --data 'laion/{00000..41455}.tar' \
               --out runs/sr1024           (--init runs/sr256/export)
Hardware:  the paper's: 128 TPU-v4. Ours by count: 0.50 TFLOP a crop forward, 7.6e21 in all.
Time:      5,300 H100-hours at 40% of 989 TFLOP/s; nobody has run it here.
Cost:      $13,000 at $2.50 an H100-hour.
Score:     see paper_base64.
"""

from openimagen.config import Recipe
from openimagen.paper import PAPER_SR1024
from openimagen.recipes import paper_sr256

TRAIN = paper_sr256.TRAIN.model_copy(update={"crop": 256})


def recipe() -> Recipe:
    """All three stages; this one sees crops of 256 pixels, 64 in the picture below."""
    below = paper_sr256.recipe()
    stages = (*below.model.stages, PAPER_SR1024)
    return Recipe(
        model=below.model.model_copy(update={"stages": stages}),
        train={**below.train, "sr1024": TRAIN},
    )
