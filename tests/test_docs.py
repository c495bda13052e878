"""The README and docs name what there is."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from cuts3d_cli.cli.main import COMMANDS
from cuts3d_cli.config import Config, preset_names
from cuts3d_cli.store.coco import annotation
from cuts3d_cli.store.confidence import Confidence
from cuts3d_cli.store.layout import ARRAYS, FORMAT_VERSION
from cuts3d_cli.store.masks import PSEUDO_MASKS, MaskFile, write_masks

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example(name):
    assert re.search(rf"^cuts3d (-v )?{name}\b", README, re.MULTILINE), name


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_named(name):
    assert f"`{name}`" in README and name in Config.model_fields["preset"].description


def test_format_table_is_the_layout():
    rows = re.findall(
        r"^\| ([\w-]+) \| `(\w+)` \| ([\w, ]+) \| (\w+) \| (.+) \|$",
        (ROOT / "docs/formats.md").read_text(),
        re.MULTILINE,
    )
    layout = [
        (stage, name, ", ".join(a.axes), a.dtype, a.meaning)
        for stage, arrays in ARRAYS.items()
        for name, a in arrays.items()
    ]
    assert rows == layout


def test_the_keys_of_mask_files_are_those_written(tmp_path):
    maps = [np.ones((2, 2)), np.linspace(0.5, 1, 400).reshape(20, 20)]  # exact, and in levels
    entries = [
        annotation(1, np.ones((4, 4), bool), 1, quality=0.5, cut=0, confidence=Confidence(grid, 0.5)) for grid in maps
    ]
    write_masks(tmp_path / "m.json", MaskFile(PSEUDO_MASKS, tmp_path, [], entries))
    document = json.loads((tmp_path / "m.json").read_text())
    text = (ROOT / "docs/formats.md").read_text()

    def documented(title):
        table = text.split(f"| key of {title} | meaning |")[1].split("\n\n")[0]
        return re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)

    assert documented("`info`") == list(document["info"])
    assert f"| `format_version` | {FORMAT_VERSION};" in text
    coco = {"id", "image_id", "category_id", "segmentation", "bbox", "area", "iscrowd"}
    assert set(documented("an annotation")) == set(document["annotations"][0]) - coco
    assert set(documented("`confidence`")) == {key for entry in document["annotations"] for key in entry["confidence"]}


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target
