"""Scores pseudo-masks from sensor depth, beside the plane-and-components baseline.

    python benchmarks/rgbd.py ../shared/mosd --row rgbd: --row "joined: features.join=dinov2-vits14"

SCENES holds rgb/NAME.jpg, depth_mm/NAME.png (16 bit, mm, 0 = no reading) and labels/NAME.png (0 = background, one value
an object). A row is NAME: and settings over the preset rgbd (or another: preset=embedded), separated by blanks; each is
made by the stages of the package and ranked by evaluate.pseudo_mask_rank. Columns are class-agnostic mask AP / AP50 in
percent, over

\b
    all            every scene
    even, odd      scenes whose number is even, for choosing settings, and odd, for reporting
    apart          scenes where no two objects are within 6 px of each other
    behind         scenes where some are, but a step of depth lies between them
    touching       scenes where depth goes on from one object to another (15 mm, over a fifth of their border)
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import yaml
from PIL import Image
from plane_components import plane_components
from scipy import ndimage

from cuts3d_cli.config import Config, resolve
from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.evaluation.coco_eval import evaluate
from cuts3d_cli.evaluation.evaluate import ranked
from cuts3d_cli.pipeline.declarations import upstream_of
from cuts3d_cli.pipeline.graph import execute, result_path
from cuts3d_cli.pipeline.runner import Source
from cuts3d_cli.stages import prepare
from cuts3d_cli.store.coco import annotation
from cuts3d_cli.store.coco_document import CocoDocument
from cuts3d_cli.store.layout import manifest_path, shard_name
from cuts3d_cli.store.masks import read_masks

NEAR_PX = 6
"""Objects this close in the image are beside each other."""

STEP_MM = 15
"""Steps of depth up to this are none."""

TOUCHING = 0.2
"""Fraction of the border between two objects without a step from which they touch."""

GROUPS = ("all", "even", "odd", "apart", "behind", "touching")


@dataclass(frozen=True)
class Scene:
    """A scene: its name, depth (H, W) in mm, masks (M, H, W) bool, and whether its objects are apart, behind each other
    or touching."""

    name: str
    depth_mm: np.ndarray
    masks: np.ndarray
    kind: str

    @property
    def groups(self) -> set[str]:
        """Columns that it counts in."""
        number = int("0" + "".join(re.findall(r"\d+", self.name)[-1:]))
        return {"all", "odd" if number % 2 else "even", self.kind}


def load_scenes(folder: Path, n: int = 0) -> list[Scene]:
    """The first ``n`` scenes of a folder in the order of their numbers; 0: all.

    Raises:
        Cuts3dError: there is none.
    """
    names = sorted((path.stem for path in (folder / "labels").glob("*.png")), key=lambda name: (len(name), name))
    if not names:
        raise Cuts3dError(f"{folder}: no scenes", expected="rgb/NAME.jpg, depth_mm/NAME.png and labels/NAME.png")
    scenes = []
    for name in names[: n or None]:
        labels, depth = (np.asarray(Image.open(folder / sub / f"{name}.png")) for sub in ("labels", "depth_mm"))
        masks = labels == np.unique(labels[labels > 0])[:, None, None]
        scenes.append(Scene(name, depth.astype(np.float32), masks, kind_of(masks, depth.astype(np.float32))))
    return scenes


def kind_of(masks: np.ndarray, depth_mm: np.ndarray) -> str:
    """Whether the objects of a scene are ``apart``, ``behind`` each other or ``touching``."""
    kind = "apart"
    for i, mask in enumerate(masks):
        away, nearest = ndimage.distance_transform_edt(~mask, return_indices=True)
        for other in masks[i + 1 :]:
            border = other & (away <= NEAR_PX)
            if np.count_nonzero(border) < 30:
                continue
            kind = "behind" if kind == "apart" else kind
            smooth = np.abs(depth_mm - depth_mm[tuple(nearest)])[border] < STEP_MM
            if smooth.mean() > TOUCHING:
                return "touching"
    return kind


def pseudo_masks(folder: Path, names: list[str], config: Config, run: Path) -> dict[str, list[dict]]:
    """Annotations of each scene, made by the stages of a run, whose scores are the rank; what ``run`` holds is kept."""
    manifest = prepare.run(folder / "rgb", manifest_path(run), n_shards=1)
    records = [record for record in manifest.records(0) if Path(record.file_name).stem in names]
    source = Source(records, manifest.image_root, folder / "depth_mm")
    for stage in [*upstream_of("crf", config), "crf"]:
        execute(stage, source, config, lambda name: result_path(run, name, shard_name(0)))
    masks = read_masks(result_path(run, "crf", shard_name(0)), own=True)
    document, _ = ranked(CocoDocument(masks.images, masks.annotations), config.evaluate.pseudo_mask_rank)
    annotations = replace(masks, annotations=list(document.annotations)).by_image()
    return {Path(image["file_name"]).stem: annotations[image["id"]] for image in masks.images}


def baseline(scene: Scene, focal: float) -> list[dict]:
    """Annotations of the plane-and-components baseline, scored by area."""
    masks = plane_components(scene.depth_mm / 1000, focal=focal)
    return [annotation(0, mask, float(mask.mean())) for mask in masks]


def scores(scenes: list[Scene], found: dict[str, list[dict]]) -> dict[str, tuple[float, float]]:
    """AP and AP50 of each of GROUPS that has a scene."""
    result = {}
    for group in GROUPS:
        chosen = [scene for scene in scenes if group in scene.groups]
        if not chosen:
            continue
        images = [
            {"id": i, "file_name": scene.name, "height": scene.masks.shape[1], "width": scene.masks.shape[2]}
            for i, scene in enumerate(chosen, start=1)
        ]
        truth = [
            {"id": 100 * i + k, **annotation(i, mask, 1.0)}
            for i, scene in enumerate(chosen, start=1)
            for k, mask in enumerate(scene.masks)
        ]
        masks = [
            {"image_id": i, "segmentation": entry["segmentation"], "score": entry["score"]}
            for i, scene in enumerate(chosen, start=1)
            for entry in found[scene.name]
        ]
        document = {"images": images, "annotations": truth, "categories": [{"id": 1, "name": "object"}]}
        metrics = evaluate({"images": images, "annotations": masks}, document, iou_types=("segm",)).metrics["segm"]
        result[group] = metrics["AP"], metrics["AP50"]
    return result


def row_config(text: str) -> tuple[str, Config]:
    """Name and configuration of a row, NAME: SECTION.KEY=VALUE ...

    Raises:
        Cuts3dError: a text of another form, or a wrong key or value.
    """
    name, colon, rest = text.partition(":")
    values: dict = {"preset": "rgbd", "depth": {"backend": "files"}}
    for word in rest.split():
        key, equals, value = word.partition("=")
        section, _, field = key.partition(".")
        if not equals or not (field or section == "preset"):
            colon = ""
        elif field:
            values.setdefault(section, {})[field] = yaml.safe_load(value)
        else:
            values[section] = value
    if not colon:
        raise Cuts3dError(f"--row {text}", expected="NAME: and SECTION.KEY=VALUE, separated by blanks")
    return name, resolve(values, source=f"--row {name}")


@click.command(help=__doc__)
@click.argument("scenes", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--row", "rows", multiple=True, default=["rgbd:"], show_default=True, help="NAME: SECTION.KEY=VALUE ...")
@click.option("--n", default=0, help="Scenes; 0: all.")
@click.option("--only", type=click.Choice(GROUPS), default="all", help="Scenes of this column alone.")
def main(scenes: Path, rows: tuple[str, ...], n: int, only: str) -> None:
    configs = [row_config(row) for row in rows]
    loaded = [scene for scene in load_scenes(scenes, n) if only in scene.groups]
    shown = [group for group in GROUPS if any(group in scene.groups for scene in loaded)]
    counts = {group: sum(group in scene.groups for scene in loaded) for group in shown}
    click.echo("| masks | " + " | ".join(f"{group} ({counts[group]})" for group in shown) + " | masks per image |")
    click.echo("| --- " * (len(shown) + 2) + "|")

    def show(name: str, found: dict[str, list[dict]]) -> None:
        cells = [f"{100 * ap:.1f} / {100 * ap50:.1f}" for ap, ap50 in scores(loaded, found).values()]
        click.echo(f"| {name} | {' | '.join(cells)} | {np.mean([len(masks) for masks in found.values()]):.1f} |")

    focal = configs[0][1].features.focal
    show("plane and components", {scene.name: baseline(scene, focal) for scene in loaded})
    with tempfile.TemporaryDirectory() as run:  # rows share what they have in common
        for name, config in configs:
            show(name, pseudo_masks(scenes, [scene.name for scene in loaded], config, Path(run)))


if __name__ == "__main__":
    main()
