"""Draw images of a finished run from photograph to detections, one below the other, as in the README.

    python scripts/example_picture.py runs/sample docs/example.jpg 9 20

Takes the run, the picture to write and positions in the list of held-out images (from 0).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from cuts3d_cli.evaluation.examples import Detections, make_examples
from cuts3d_cli.evaluation.overlay import panels
from cuts3d_cli.store.layout import manifest_path
from cuts3d_cli.store.manifest import read_manifest

SIDE_PX, STRIP_PX, LEAST_SCORE = 240, 170, 0.5


def main(run: Path, out: Path, positions: list[int]) -> None:
    """Write the picture of the images at these positions."""
    last = max((run / "detector").glob("round*/predictions_val.json"), key=lambda path: int(path.parent.name[5:]))
    n_images = read_manifest(manifest_path(run / "val")).n_images
    detections = Detections(last, "Detections", LEAST_SCORE)
    examples = list(make_examples(run / "val", n_images, side=SIDE_PX, detections=detections))
    shown = ([panel for panel in examples[at].panels if panel.picture is not None] for at in positions)
    strips = [panels([(panel.title, panel.picture) for panel in row], height=STRIP_PX) for row in shown]
    width = max(strip.shape[1] for strip in strips)
    strips = [np.pad(s, ((0, 0), (0, width - s.shape[1]), (0, 0)), constant_values=255) for s in strips]
    Image.fromarray(np.vstack(strips)).save(out, quality=88)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [int(word) for word in sys.argv[3:]])
