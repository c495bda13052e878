"""Draw photographs from depth to mask, one row each, as in the README.

    pip install --no-deps scikit-image                    # for its photographs; nothing of it is imported
    python scripts/example_picture.py docs/example.jpg

Other photographs are named as files, or as those in scikit-image's folder of data. Drawn when none is named:
astronaut.png (in the public domain, NASA), chelsea.png (CC0, Stefan van der Walt), coffee.png (CC0, Rachel Michetti),
and rocket.jpg (in the public domain, SpaceX): the colour photographs of scenes in the wheel of scikit-image whose
terms, as its documentation states them, ask for nothing. Settings are those of --preset and --set SECTION.KEY=VALUE.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from cuts3d_cli.cli.main import cli
from cuts3d_cli.cli.options import build_config
from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.pipeline.graph import upstream_of
from cuts3d_cli.report.layers import rasterised
from cuts3d_cli.report.overlay import panels, resized
from cuts3d_cli.report.panels import Example, Panel, make_examples

PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
SIDE_PX, ROW_PX = 320, 120
"""Longer side that a panel is drawn at, and the height that it is shown at."""


def draw(photographs: Sequence[Path], out: Path, options: Sequence[str]) -> None:
    """Find the objects of photographs and write the picture of all steps.

    Args:
        photographs: image files; a row each, in this order.
        out: image file to write.
        options: ``--preset`` and ``--set`` with their values, as every command takes them.
    """
    config = build_config({"preset": options[1], "assignments": options[3::2]})
    with tempfile.TemporaryDirectory() as folder:
        images, run = Path(folder, "images"), Path(folder, "run")
        images.mkdir()
        for number, path in enumerate(photographs):
            shutil.copy(path, images / f"{number:02}_{path.name}")
        _call("prepare", images, "--run", run, "--n-shards", 1)
        for stage in (*upstream_of("crf", config), "crf"):
            _call(stage, "--run", run, "--shard", 0, *options)
        rows = [_row(example) for example in make_examples(run, len(photographs), side=SIDE_PX)]
    width = max(picture.shape[1] for row in rows for _, picture in row)
    strips = [panels([(title, _padded(picture, width)) for title, picture in row], height=ROW_PX) for row in rows]
    Image.fromarray(np.vstack(strips)).save(out, quality=88)


def found(name: str) -> Path:
    """A photograph by its path, or by its name in the installed scikit-image.

    Raises:
        Cuts3dError: it is neither.
    """
    spec = find_spec("skimage")
    folders = [Path(), *(Path(folder, "data") for folder in (spec.submodule_search_locations if spec else ()))]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise Cuts3dError(
        f"no photograph {name}",
        expected="a file, or a photograph of scikit-image",
        hint=None if spec else "pip install --no-deps scikit-image",
    )


def _call(*words: object) -> None:
    cli.main(list(map(str, words)), prog_name="cuts3d", standalone_mode=False)


def _row(example: Example) -> list[tuple[str, np.ndarray]]:
    if missing := [panel for panel in example.panels if panel.picture is None]:
        raise Cuts3dError(f"{example.image.record.file_name}: no {missing[0].title}", found=missing[0].missing)
    return [(panel.title, _scaled(_picture(panel, example.image.photo))) for panel in example.panels]


def _picture(panel: Panel, photo: np.ndarray) -> np.ndarray:
    """The picture of a panel, its masks drawn over the photograph."""
    return panel.picture if isinstance(panel.picture, np.ndarray) else rasterised(photo, panel.picture)


def _scaled(picture: np.ndarray) -> np.ndarray:
    """A picture at the height of a row."""
    return resized(picture, ROW_PX, round(ROW_PX * picture.shape[1] / picture.shape[0]))


def _padded(picture: np.ndarray, width: int) -> np.ndarray:
    """A picture with white at its right, so that columns stand straight."""
    return np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), constant_values=255)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="picture to write")
    parser.add_argument("photographs", nargs="*", default=PHOTOGRAPHS, help="files, or names in scikit-image's data")
    parser.add_argument("--preset", default="photo", help="named set of settings")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="set any key")
    arguments = parser.parse_args(words)
    options = ["--preset", arguments.preset, *(word for value in arguments.set for word in ("--set", value))]
    try:
        draw([found(name) for name in arguments.photographs], arguments.out, options)
    except Cuts3dError as error:
        print(f"cuts3d: error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
