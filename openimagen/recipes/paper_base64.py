"""The paper's base model, as far as it is printed (appendix F.1): 2.1B parameters, 64x64, T5-XXL.

Command:   openimagen train paper_base64 --data 'laion/{00000..41455}.tar' --out runs/base
Hardware:  the paper's: 256 TPU-v4. Ours by count: 1.5 TFLOP a picture forward, 2.3e22 in all.
Time:      16,400 H100-hours at 40% of 989 TFLOP/s; nobody has run it here.
Cost:      $41,000 at $2.50 an H100-hour.
Score:     the paper's first two stages, guidance 1.35 and 8: zero-shot FID-30K 7.27 on COCO.
"""

from openimagen.config import ModelConfig, Recipe, TrainConfig
from openimagen.paper import PAPER_BASE64, PAPER_TEXT

BATCH = 2048
STEPS = 2_500_000

TRAIN = TrainConfig(  # decay of the average and clipping are not printed: 0.9999 and 1 are usual
    images=STEPS * BATCH,
    batch=BATCH,
    optimizer="adafactor",
    learning_rate=1e-4,
    warmup_images=10_000 * BATCH,
    cooldown=0.0,  # F prints a cosine decay to a rate that none can be: constant here
    ema_images=10_000 * BATCH,
    checkpoint_images=5_000 * BATCH,
    preview_images=5_000 * BATCH,
)


def recipe() -> Recipe:
    """The base alone."""
    return Recipe(
        model=ModelConfig(name="paper", text=PAPER_TEXT, stages=(PAPER_BASE64,)),
        train={"base": TRAIN},
    )
