"""What the documentation site adds to docs/, without building it; `make docs` does that."""

import importlib
import re
from pathlib import Path

import click
import pytest
import yaml

from cuts3d_cli.cli.main import COMMANDS
from cuts3d_cli.cli.options import flag_name
from cuts3d_cli.config import Config, preset_names, resolve
from cuts3d_cli.config.text import yaml_text
from scripts import site_pages
from tests.test_docs import SECTIONS

ROOT = Path(__file__).parents[1]


class Loader(yaml.SafeLoader):
    """YAML with MkDocs' tags, whose values do not matter here."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: None)
CONFIG = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)


def part_of(text: str, title: str) -> str:
    """A part of a page below its heading."""
    return re.split(rf"^## {re.escape(title)}$", text, flags=re.MULTILINE)[1].split("\n## ")[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_explained(name):
    text = site_pages.commands()
    shared = part_of(text, "Options of commands with settings")
    command = importlib.import_module(f"cuts3d_cli.cli.{name.replace('-', '_')}").command
    for each, title in [(command, f"cuts3d {name}")] + [
        (sub, f"cuts3d {name} {key}") for key, sub in getattr(command, "commands", {}).items()
    ]:
        part = part_of(text, title)
        assert " ".join(each.help.split("\b")[0].split())[:40].split("`")[0] in " ".join(part.split())
        sections = re.findall(r"\(settings\.md#(\w+)\)", part)
        by_setting = {flag_name(key) for section in sections for key in SECTIONS[section]}
        for param in each.params:
            if isinstance(param, click.Option):
                rows = part if f"`{param.opts[0]}`" in part else shared
                assert f"`{param.opts[0]}`" in rows or param.opts[0] in by_setting, param.opts


def test_options_are_in_the_words_of_the_help():
    part = part_of(site_pages.commands(), "cuts3d masks")
    assert re.search(r"^\| `--out` \| path \| .* Required\. \|$", part, re.MULTILINE)
    assert re.search(r"^\| `--cores` \| integer, >= 1 \|", part, re.MULTILINE)
    assert re.search(r"^\| `--format` \| `coco`, .*\(repeatable\) \| .* Default: coco\. \|$", part, re.MULTILINE)
    assert "```\ncuts3d masks photos/ --out masks/\n" in part


def test_a_section_of_settings_stands_for_its_options():
    part = part_of(site_pages.commands(), "cuts3d localcut")
    assert "(settings.md#localcut)" in part and "--tau-knn`" not in part and "`--shard`" in part


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_is_explained_with_the_values_of_the_presets(section):
    part = part_of(site_pages.settings(), f"`{section}`")
    rows = {row.split("`")[1]: row for row in part.splitlines() if row.startswith("| `")}
    assert list(rows) == list(SECTIONS[section])
    values = {name: resolve({"preset": name}).model_dump(mode="json")[section] for name in preset_names()}
    for key, row in rows.items():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        assert len(cells) == 5 and cells[4].startswith(
            SECTIONS[section][key].description.split("`")[0].split("<")[0][:9]
        )
        assert cells[1] == f"`{yaml_text(values['embedded'][key])}`"
        for name in preset_names():
            if values[name][key] != values["embedded"][key]:
                assert re.search(rf"`{re.escape(yaml_text(values[name][key]))}`: [^<]*\b{name}\b", cells[2]), (
                    key,
                    name,
                )


def test_settings_without_a_section_are_there():
    rows = part_of(site_pages.settings(), "Settings without a section")
    assert re.findall(r"^\| `(\w+)`", rows, re.MULTILINE) == [key for key in Config.model_fields if key not in SECTIONS]


def test_what_markdown_would_read_is_escaped():
    assert site_pages._escaped("a|b <x> *y* [z] `c|d <e>`") == r"a\|b &lt;x> \*y\* \[z\] `c|d <e>`"


def test_every_rule_that_asks_for_memory_is_listed():
    text = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    rows = site_pages.resources().splitlines()[2:]
    assert len(rows) == len(re.findall(r"mem_mb=", text))
    assert "| `train` | 8 | 8000 | 2880 |" in rows


def test_the_terms_are_those_of_the_report():
    assert site_pages.terms().count("\n- **") > 7 and "tau_knn" in site_pages.terms()


def test_links_out_of_docs_lead_to_pages_of_the_site():
    moved = site_pages.relinked
    assert moved("[a](../README.md), [b](results.md#x)", "docs/a.md") == "[a](index.md), [b](results.md#x)"
    assert moved("[a](docs/rgbd.md) ![b](docs/example.jpg)", "README.md") == "[a](rgbd.md) ![b](example.jpg)"
    assert moved("[a](../sample/README.md#licence)", "docs/a.md") == "[a](sample.md#licence)"
    kept = "[a](https://example.org/README.md) [b](#here) [c](../Makefile)"
    assert moved(kept, "docs/a.md") == kept.replace("../Makefile", "Makefile"), "no page of the site: the build says so"


def test_generated_parts_are_asked_for_by_name():
    asked = [name for page in (ROOT / "docs").glob("*.md") for name in site_pages.MARKER.findall(page.read_text())]
    assert sorted(asked) == sorted(site_pages.PARTS)
    with pytest.raises(KeyError):
        site_pages.filled("<!-- generated: nosuch -->")


def test_every_page_is_in_the_navigation():
    def pages(entries):
        for entry in entries:
            if isinstance(entry, str):
                yield entry
            else:
                for inner in entry.values():
                    yield from pages([inner] if isinstance(inner, str) else inner)

    own = {path.name for path in (ROOT / "docs").glob("*.md")}
    included = {name for name in site_pages.INCLUDED.values() if name.endswith(".md")}
    assert sorted(pages(CONFIG["nav"])) == sorted(own | included)


def test_nothing_is_loaded_from_elsewhere():
    assert CONFIG["theme"]["font"] is False and "offline" in CONFIG["plugins"] and not CONFIG["use_directory_urls"]
    own = [*CONFIG["extra_css"], *CONFIG.get("extra_javascript", ()), *CONFIG["extra"]["polyfills"]]
    assert all((ROOT / "docs" / path).is_file() for path in own)
    assert any("iframe-worker" in path for path in own), "the plugin loads one if none has this in its name"
