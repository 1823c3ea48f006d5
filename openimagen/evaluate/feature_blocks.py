"""Features of many pictures in files of a few each: looked at once, resumed, shared by ranks."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from openimagen.evaluate.drawing import Shard
from openimagen.files import write_whole

BLOCK = 64  # pictures a file


@dataclass(frozen=True)
class FeatureBlocks:
    """Of `count` pictures; a block is a range of their numbers."""

    folder: Path
    kind: str  # begins the files' names
    count: int

    def share(self, shard: Shard) -> list[range]:
        """The blocks that are a rank's to do, done or not."""
        return shard.share(self.count, BLOCK)

    def missing(self, blocks: Sequence[range] | None = None) -> list[range]:
        """Those of some blocks, or of all, that are not there yet."""
        blocks = self.share(Shard()) if blocks is None else blocks
        return [block for block in blocks if not self._file(block).exists()]

    def keep(self, block: range, rows: Float[Tensor, "b d"], skipped: Mapping[str, str]) -> None:
        """Write the features of a block; `skipped`: why others of it have none, by name."""
        blob = save({"features": rows.contiguous()}, {"skipped": json.dumps(skipped)})
        write_whole(self._file(block), blob)

    def read(self) -> tuple[Float[Tensor, "n d"], dict[str, str]]:
        """All features, in the pictures' order, and all that was skipped.

        Raises ValueError for a file that is damaged.
        """
        rows, skipped = list[Tensor](), dict[str, str]()
        for block in self.share(Shard()):
            try:
                with safe_open(self._file(block), "pt") as file:
                    rows.append(file.get_tensor("features"))
                    skipped |= json.loads((file.metadata() or {})["skipped"])
            except (SafetensorError, KeyError, ValueError):
                path = self._file(block)
                raise ValueError(f"{path} is damaged: delete it, and run this again") from None
        return torch.cat(rows), skipped

    def _file(self, block: range) -> Path:
        return self.folder / f"{self.kind}-{block.start:07}.safetensors"
