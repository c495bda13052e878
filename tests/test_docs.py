"""The README and docs name what there is."""

import importlib
import itertools
import json
import re
import shlex
from pathlib import Path

import click
import numpy as np
import pytest

from cuts3d_cli.cli.main import COMMANDS, cli
from cuts3d_cli.config import Config, Section, preset_names
from cuts3d_cli.store.coco import annotation
from cuts3d_cli.store.confidence import Confidence
from cuts3d_cli.store.layout import ARRAYS, FORMAT_VERSION
from cuts3d_cli.store.masks import PSEUDO_MASKS, MaskFile, Provenance, write_masks

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "sample/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
SECTIONS = {name: field.annotation for name, field in Config.model_fields.items() if isinstance(field.annotation, type)}
SECTIONS = {name: kind.model_fields for name, kind in SECTIONS.items() if issubclass(kind, Section)}
FILE_NAMES = {"data.yaml", "features.py", "report.html"}
"""What looks like a setting and is none."""


def command_of(name: str) -> click.Command:
    return importlib.import_module(f"cuts3d_cli.cli.{name.replace('-', '_')}").command


def code_lines(text: str) -> list[str]:
    """The lines of code blocks and of examples in help texts, with those that go on joined."""
    blocks = re.findall(r"^```(?:bash)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    blocks += re.findall(r"(?:^ {4,}.*\n)+", text, re.MULTILINE)
    return [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def commands_in(text: str) -> list[tuple[str, list[str]]]:
    """The calls of ``cuts3d`` in code: the line and the words after the program's name."""
    found = []
    for line in code_lines(text):
        if re.match(r"(.* )?cuts3d -*\w", line.split("#")[0]):
            words = shlex.split(line, comments=True)
            found.append((line, words[words.index("cuts3d") + 1 :]))
    return found


def check_call(line: str, words: list[str]) -> None:
    """Check that a command, its options and what they choose from are there."""
    command: click.Command = cli
    while words and (words[0].startswith("-") or isinstance(command, click.Group)):
        word = words.pop(0)
        if not word.startswith("-"):
            command = command.get_command(click.Context(command), word)
            assert command is not None, line
        elif command is not cli:
            words.insert(0, word)
            break
    if command.name == "run":  # its options are Snakemake's
        return
    options = {name: param for param in command.params for name in (*param.opts, *param.secondary_opts)}
    options |= dict.fromkeys(("--help", "-h"), None)
    for word, value in itertools.pairwise([*words, ""]):
        if not word.startswith("--"):
            continue
        name, _, joined = word.partition("=")
        assert name in options, f"{line}: {name}"
        kind = getattr(options[name], "type", None)
        if isinstance(kind, click.Choice):
            assert (joined or value) in kind.choices, f"{line}: {name} {value}"
        if name == "--set":
            section, key = value.split("=")[0].split(".")
            assert key in SECTIONS[section], f"{line}: {value}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_that_is_right(name):
    calls = commands_in(command_of(name).help.replace("\b\n", ""))
    assert any(words[0] == name for _, words in calls)
    for line, words in calls:
        check_call(line, words)


def test_every_command_is_in_the_table_of_commands():
    table = (ROOT / "docs/commands.md").read_text().split("| stage |")[1].split("\n\n")[0]
    named = [name for row in table.splitlines()[2:] for name in re.findall(r"`([\w-]+)`", row.split("|")[2])]
    assert sorted(named) == sorted(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_pages_are_right(page):
    for line, words in commands_in(page.read_text()):
        check_call(line, words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_in_pages_are_there(page):
    for section, key in re.findall(r"[` ](\w+)\.([a-z]\w*)[`:= ]", page.read_text()):
        if section in SECTIONS and f"{section}.{key}" not in FILE_NAMES:
            assert key in SECTIONS[section], f"{section}.{key}"


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_explained(name):
    page = (ROOT / "docs/settings.md").read_text()
    assert re.search(rf"^\| `{name}` \|", page, re.MULTILINE) and name in Config.model_fields["preset"].description


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
    write_masks(
        tmp_path / "m.json",
        MaskFile(PSEUDO_MASKS, tmp_path, [], entries, provenance=Provenance(rows=["a"]), rank="score"),
    )
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


def anchors(page: Path) -> set[str]:
    """Names of the headings as GitHub and the site make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    slugs = [re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles]
    assert len(slugs) == len(set(slugs)), "a heading twice, so that its link is ambiguous"
    return set(slugs)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", text):
        if not target.startswith("http"):
            there = page.parent / target if target else page
            assert there.exists(), target
            assert not anchor or anchor in anchors(there), f"{target}#{anchor}"
