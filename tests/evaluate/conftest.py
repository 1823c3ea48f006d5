"""A COCO small enough to measure in a blink."""

import json
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """As published: ten pictures of as many sizes, two captions each, listed in no order."""
    (tmp_path / "coco/annotations").mkdir(parents=True)
    (tmp_path / "coco/val2014").mkdir()
    images, annotations = [], []
    for number in (5, 2, 9, 4, 7, 1, 10, 3, 8, 6):
        name, width = f"COCO_val2014_{number:012}.jpg", 30 + number
        colours = Image.linear_gradient("L").resize((width, 24)).convert("RGB")
        layer = Image.new("RGB", colours.size, (25 * number, 90, 9))
        Image.blend(colours, layer, 0.7).save(tmp_path / "coco/val2014" / name)
        images.append({"id": number, "file_name": name, "height": 24, "width": width})
        for half in (1, 0):
            text = f"boat {number}/{half}\n"
            annotations.append({"image_id": number, "id": 2 * number + half, "caption": text})
    listed = {"images": images, "annotations": annotations}
    (tmp_path / "coco/annotations/captions_val2014.json").write_text(json.dumps(listed))
    return tmp_path / "coco"
