"""The README and docs name what there is."""

import re
from pathlib import Path

import pytest

from cuts3d_cli.cli.main import COMMANDS
from cuts3d_cli.config import Config, preset_names
from cuts3d_cli.store.layout import ARRAYS

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


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target
