"""Make the pictures of docs/gallery.md: masks of photographs, and of scenes of the sample with depth.

    pip install --no-deps scikit-image       # for its photographs; nothing of it is imported
    python -m scripts.gallery docs/

The photographs are those in the wheel of scikit-image whose documentation says CC0 or public domain: those of
`scripts.example_picture`, and camera.png (CC0, Lav Varshney), clock_motion.png (public domain, Stefan van der Walt),
hubble_deep_field.jpg (public domain, NASA), retina.jpg (CC0, Mikael Häggström), grass.png and gravel.png (CC0).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from cuts3d_cli.errors import Cuts3dError
from scripts.example_picture import PHOTOGRAPHS, found

SAMPLE = Path(__file__).resolve().parents[1] / "sample/val"
SCENES = (1, 4, 7, 10, 13, 16, 19, 22)
OBJECTS = (*PHOTOGRAPHS, "camera.png", "clock_motion.png", "retina.jpg")
WIDTH_PX = 1400
"""Of the pictures; the sheets of `cuts3d masks` are wider."""

NO_OBJECT = ("hubble_deep_field.jpg", "grass.png", "gravel.png")


@dataclass(frozen=True)
class Series:
    """A contact sheet of the gallery.

    Attributes:
        photographs: names in scikit-image's data; none for scenes of the sample with their depth.
        options: what `cuts3d masks` gets besides images and folder.
    """

    photographs: tuple[str, ...]
    options: tuple[str, ...] = ()


SERIES = {
    "photographs": Series(OBJECTS),
    "six_attempts": Series(OBJECTS, ("--set", "localcut.n_instances=6")),
    "without_depth": Series(OBJECTS, ("--method", "maskcut")),
    "colour": Series(OBJECTS, ("--preset", "embedded")),
    "no_object": Series(NO_OBJECT),
    "sample": Series((), ("--preset", "embedded")),
    "sample_rgbd": Series((), ("--preset", "rgbd")),
}
"""By name; the picture is ``gallery_<name>.jpg``."""


def make(out: Path, names: Sequence[str]) -> None:
    """Write pictures of the gallery, those of all series in one cache, as `cuts3d masks` makes them.

    Args:
        out: folder of the pictures.
        names: of `SERIES`.

    Raises:
        Cuts3dError: scikit-image's photographs are not there.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            series, images = SERIES[name], Path(folder, f"images of {name}")
            images.mkdir()
            depth = []
            if series.photographs:
                for photograph in series.photographs:
                    shutil.copy(found(photograph), images)
            else:
                for scene in SCENES:
                    shutil.copy(SAMPLE / f"images/scene_{scene:04}.jpg", images)
                depth = ["--depth-map", str(SAMPLE / "depth")]
            words = ["masks", str(images), "--out", f"masks of {name}", *depth, *series.options]
            subprocess.run([sys.executable, "-m", "cuts3d_cli", *words], cwd=folder, check=True)
            sheet = Image.open(Path(folder, f"masks of {name}", "contact_sheet.jpg"))
            sheet.thumbnail((WIDTH_PX, WIDTH_PX))
            sheet.save(out / f"gallery_{name}.jpg", quality=85)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of the pictures")
    parser.add_argument("--series", nargs="*", choices=list(SERIES), default=list(SERIES), help="default: all")
    arguments = parser.parse_args(words)
    try:
        make(arguments.out, arguments.series)
    except Cuts3dError as error:
        print(f"cuts3d: error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
