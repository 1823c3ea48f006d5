"""The `openimagen` command. Each command parses, calls the library once, and reports.

Torch and everything that needs it is imported inside the commands: `--help` must not wait for it.
"""

from openimagen.cli import coco, data, measure, pictures, report, serve, study, train
from openimagen.cli.commands import app

__all__ = ["app", "coco", "data", "measure", "pictures", "report", "serve", "study", "train"]
