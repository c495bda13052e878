"""COCO JSON with random mutations through every reader: a result or an error of ours, and nothing else.

Seed and number decide a document, so that a failure can be repeated alone. No document may hang or crash a reader,
raise anything but a `Cuts3dError` of one line that names the file, or lose an annotation.

    python -m tests.fuzz_coco --n 100000 --seed 3
    python -m tests.fuzz_coco --seed 3 --only 4711        # one document: print it and what the readers do
"""

from __future__ import annotations

import copy
import functools
import json
import logging
import math
import random
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from cuts3d_cli.errors import Cuts3dError
from cuts3d_cli.store.coco import annotation, encode_mask
from cuts3d_cli.store.confidence import Confidence
from cuts3d_cli.store.masks import PSEUDO_MASKS, MaskFile, Provenance, write_masks
from tests.isolated import isolated

HEIGHT, WIDTH = 24, 36
MOST_DECODED = 4_000_000
"""Pixels of an image whose masks are still decoded: larger ones are right, and slow."""

HOSTILE: tuple[Any, ...] = (
    None, True, False, "", "0", "96", "nan", "a\nb", "\0", "\ud800", "ok" * 500, 0, 1, 2, -1, 7, 0.5, -0.5, 1e-300, 1e9,
    -1e9, 1e308, 2**31, 2**32, 2**53 + 1, 2**63, -(2**63), 10**30, 10**400, math.nan, math.inf, -math.inf, [], [[]],
    [0], [1, 2], [[1, 2]], [[1, 2, 3, 4]], [[1, 2, 30, 2, 30, 20]], [[math.nan] * 6], [[1e9, 1e9, 0, 0, 5, 5]], {},
    [None] * 6, [[[1, 2], [3, 4], [5, 6]]], {"a": 1}, {"counts": "0", "size": [24, 36]}, {"counts": [864]},
    {"counts": [0, 1000000000], "size": [24, 36]}, {"counts": "this is not rle!!", "size": [24, 36]},
    {"counts": "\x01zz~", "size": [24, 36]}, {"counts": [-5, 869], "size": [24, 36]}, {"counts": [], "size": [24, 36]},
    {"counts": "PPPPPPPPPPPP0", "size": [24, 36]}, {"counts": [864], "size": [36, 24]},
    {"counts": [864], "size": [0, 36]},
)  # fmt: skip
"""Values to put in the place of others."""

ADDED = ("score", "ignore", "confidence", "image_root", "kind", "height", "coco_url", "cut", "size", "quality")
"""Keys to add to an object."""


def truth() -> dict[str, Any]:
    """Three images with polygons, codes of both kinds, a crowd region and a box without a mask among eight objects."""
    rng = np.random.default_rng(1)
    images = [{"id": n, "file_name": f"{n}.png", "height": HEIGHT, "width": WIDTH} for n in (1, 2, 3)]
    annotations = []
    for n in range(1, 9):
        x, y, w, h = (int(value) for value in rng.integers((0, 0, 5, 5), (20, 12, 15, 11)))
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[y : y + h, x : x + w] = True
        flat = np.append(mask.ravel(order="F"), -1)
        edges = np.flatnonzero(np.diff(np.append(0, flat))) + 0
        runs = np.diff(np.append(0, edges)).tolist()
        forms = (
            [[x, y, x + w, y, x + w, y + h, x, y + h]],
            encode_mask(mask),
            {"size": [HEIGHT, WIDTH], "counts": runs},
        )
        annotations.append(
            {
                "id": n, "image_id": 1 + n % 3, "category_id": 1 + n % 2, "segmentation": forms[n % 3],
                "bbox": [x, y, w, h], "area": w * h, "iscrowd": int(n == 8),
            }
        )  # fmt: skip
    categories = [{"id": 1, "name": "cup"}, {"id": 2, "name": "plate"}]
    return {"info": {"year": 2026}, "images": images, "annotations": annotations, "categories": categories}


def predictions() -> dict[str, Any]:
    """The same with scores."""
    document = truth()
    for entry in document["annotations"]:
        entry["score"] = round(1 - entry["id"] / 10, 3)
    return document


def results() -> list[dict[str, Any]]:
    """The same as a results list."""
    keys = ("image_id", "category_id", "segmentation", "bbox", "score")
    return [{key: entry[key] for key in keys} for entry in predictions()["annotations"]]


@functools.cache
def _pseudo_masks() -> str:
    entries = []
    for n, entry in enumerate(truth()["annotations"]):
        mask = np.zeros((HEIGHT, WIDTH), bool)
        x, y, w, h = entry["bbox"]
        mask[y : y + h, x : x + w] = True
        grid = np.zeros((6, 9), np.float32)
        grid[1:4, 2 : 4 + n % 3] = np.linspace(0.5, 1, 2 + n % 3)
        entries.append(annotation(entry["image_id"], mask, 0.5, cut=n, confidence=Confidence(grid, 0.5)))
    made = Provenance("f", "i", 1, {"crf": {"min_iou": 0.5}}, {"localcut": "l"})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.json")
        write_masks(path, MaskFile(PSEUDO_MASKS, Path(), truth()["images"], entries, provenance=made))
        return path.read_text()


def pseudo_masks() -> dict[str, Any]:
    """A file of ours, with confidence."""
    return json.loads(_pseudo_masks())


DOCUMENTS: tuple[Callable[[], Any], ...] = (truth, predictions, results, pseudo_masks)


def mutated(seed: int, number: int) -> bytes:
    """A document with one to three mutations."""
    rng = random.Random(f"{seed} {number}")
    document = rng.choice(DOCUMENTS)()
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        document = _mutated(document, rng)
    try:
        content = json.dumps(document).encode()
    except RecursionError:
        content = b"[" * 5000
    return _damaged(content, rng) if rng.random() < 0.1 else content


def _mutated(document: Any, rng: random.Random) -> Any:
    """A document with one value somewhere in it changed, removed, added or repeated."""
    parent, key, value = None, None, document
    while isinstance(value, dict | list) and value and (parent is None or rng.random() < 0.8):
        parent, key = value, rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        value = parent[key]
    if parent is None:
        return copy.deepcopy(rng.choice(HOSTILE))
    kind = rng.choice(("replace", "replace", "change", "change", "remove", "repeat", "exchange", "wrap", "add"))
    if kind == "replace":
        parent[key] = copy.deepcopy(rng.choice(HOSTILE))
    elif kind == "change":
        parent[key] = _changed(value, rng)
    elif kind == "remove":
        del parent[key]
    elif kind == "wrap":
        parent[key] = [value]
    elif kind == "exchange":
        other = rng.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
        parent[key], parent[other] = parent[other], parent[key]
    elif isinstance(parent, list):
        parent.insert(key, copy.deepcopy(value if kind == "repeat" else rng.choice(HOSTILE)))
    else:
        parent[rng.choice(ADDED)] = copy.deepcopy(rng.choice(HOSTILE))
    return document


def _changed(value: Any, rng: random.Random) -> Any:
    """A value of the same type, or nearly."""
    if isinstance(value, bool) or value is None or isinstance(value, dict):
        return str(value)
    if isinstance(value, int) and value.bit_length() > 64:
        return -value
    if isinstance(value, int | float):
        return rng.choice((value + 1, value - 1, -value, value * 2, value / 3, value * 1000, float(value), str(value)))
    if isinstance(value, str):
        place = rng.randrange(len(value) + 1)
        return rng.choice(
            (
                value[:place],
                value[place:],
                value + value,
                value[:place] + chr(rng.randrange(1, 300)) + value[place + 1 :],
            )
        )
    return rng.choice((value[::-1], value + value, value[: len(value) // 2], [value, value], sorted(value, key=str)))


def _damaged(content: bytes, rng: random.Random) -> bytes:
    """The bytes of a file cut, changed or put into another encoding."""
    place = rng.randrange(len(content) + 1)
    return rng.choice(
        (
            content[:place],
            content[:place] + bytes([rng.randrange(256)]) + content[place + 1 :],
            content[:place] + content[max(place - 40, 0) :],
            b"\xef\xbb\xbf" + content,
            content.decode("latin-1").encode("utf-16"),
            content[:place] + b"[" * 3000 + content[place:],
            b"",
        )
    )


class Lost(AssertionError):
    """A reader took a file and left something of it out."""


def _evaluate(path: Path, folder: Path, number: int) -> None:
    """As predictions, or as ground truth."""
    from cuts3d_cli.config import EvaluateConfig
    from cuts3d_cli.evaluation import evaluate

    config = EvaluateConfig(class_agnostic=number % 4 < 2, iou_types=["segm"] if number % 3 else ["bbox"])
    if number % 2:
        found = evaluate.run(path, folder / "truth.json", config=config)
        if found["n_images_left_out"] == 0 and config.class_agnostic:
            _check_number(path, found["n_predictions"])
    else:
        found = evaluate.run(folder / "predictions.json", path, config=config)
        _check_number(path, found["n_objects"] + found["n_crowd"] + found["n_ignored"])


def _read_masks(path: Path, _folder: Path, _number: int) -> None:
    import cuts3d

    masks = cuts3d.read_masks(path)
    if _all_small(masks._images):
        decoded = list(masks)
        for image in decoded:
            if image.masks.shape != (len(image.scores), *image.size_hw):
                raise Lost(f"masks {image.masks.shape} of an image of {image.size_hw}")
        _check_number(path, sum(map(len, decoded)))


def _train(path: Path, _folder: Path, _number: int) -> None:
    from cuts3d_cli.detector.dataset import PseudoMaskDataset
    from cuts3d_cli.detector.transforms import LoadPseudoMasks

    data = PseudoMaskDataset(path, with_confidence=True, lazy_init=True)
    _load(data.load_data_list(), LoadPseudoMasks(with_confidence=True))


def _train_labels(path: Path, _folder: Path, _number: int) -> None:
    from cuts3d_cli.detector.finetune import LoadLabels
    from cuts3d_cli.detector.labels import read_labels

    _load(read_labels(path).entries, LoadLabels())


def _load(entries: list[dict[str, Any]], transform: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Load the masks of a dataset's images as a training does."""
    for entry in entries:
        size_hw = entry["height"], entry["width"]
        if size_hw[0] * size_hw[1] <= MOST_DECODED:
            loaded = transform({**entry, "ori_shape": size_hw, "img_shape": size_hw})
            if len(loaded["gt_masks"]) != len(entry["instances"]) or not np.isfinite(loaded["gt_confidences"]).all():
                raise Lost(f"{len(loaded['gt_masks'])} of {len(entry['instances'])} masks")


def _selftrain(path: Path, _folder: Path, number: int) -> None:
    if number % 4:  # what is its own in it is little and slow
        return
    from cuts3d_cli.store.masks import check_image_root, read_masks, to_learn
    from cuts3d_cli.training.selftrain import merge_labels

    masks = read_masks(path)
    to_learn(masks, path)
    check_image_root(masks, path)
    if all("segmentation" in entry for entry in masks.annotations) and _all_small(masks.images):
        merge_labels(masks, [], 0.5, 0.5)


def _export(path: Path, folder: Path, number: int) -> None:
    if number % 4 != 1:
        return
    from cuts3d_cli.export import FORMATS, export
    from cuts3d_cli.store.masks import read_masks

    masks = read_masks(path)
    name = list(FORMATS)[number // 4 % len(FORMATS)]
    if _all_small(masks.images):
        export(masks, name, folder / f"export-{name}", source=f"file {path}")


def _all_small(images: Any) -> bool:
    return all(image["height"] * image["width"] <= MOST_DECODED for image in images)


def _check_number(path: Path, n: int) -> None:
    """Check that as many annotations came out of a file as are in it."""
    content = json.loads(path.read_bytes().decode("utf-8-sig"))
    annotations = content if isinstance(content, list) else content["annotations"]
    if len(annotations) != n:
        raise Lost(f"{n} of {len(annotations)} annotations")


READERS = (_evaluate, _read_masks, _train, _train_labels, _selftrain, _export)


@functools.cache
def _folder() -> Path:
    """A folder of this process with the images and right files."""
    folder = Path(tempfile.mkdtemp(prefix="cuts3d-fuzz-"))
    for n in (1, 2, 3):
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / f"{n}.png")
    (folder / "truth.json").write_text(json.dumps(truth()))
    (folder / "predictions.json").write_text(json.dumps(predictions()))
    logging.getLogger("cuts3d").setLevel(logging.CRITICAL)
    return folder


def attempt(job: list[int]) -> dict[str, Any]:
    """Give the documents of a seed, numbers from the second value up to the third, to all readers.

    Returns:
        ``accepted``: how often a reader took one; ``errors``: the errors of ours; ``failed``: number, reader and
        traceback of everything else.
    """
    seed, start, stop = job
    folder = _folder()
    accepted, failed, errors = 0, [], Counter()
    for number in range(start, stop):
        path = folder / "mutated.json"
        path.write_bytes(mutated(seed, number))
        for reader in READERS:
            try:
                reader(path, folder, number)
                accepted += 1
            except Cuts3dError as error:
                errors[error.what.replace(str(path), "").rpartition(": ")[2][:40]] += 1
                if "\n" in str(error) or "mutated.json" not in str(error):
                    failed.append([number, reader.__name__, f"the error says too little: {error}"])
            except BaseException:
                failed.append([number, reader.__name__, traceback.format_exc()])
    return {"accepted": accepted, "failed": failed, "errors": errors}


def run(seed: int, n: int, *, batch: int = 50, seconds: int = 120) -> tuple[int, Counter[str], list[str]]:
    """Try ``n`` documents of a seed, ``batch`` of them between two looks at the clock.

    Returns:
        How often a reader took a document, what the errors were about, and everything that is wrong.
    """
    jobs = [[seed, start, min(start + batch, n)] for start in range(0, n, batch)]
    accepted, errors, wrong = 0, Counter(), []
    for job, found in zip(jobs, isolated("tests.fuzz_coco:attempt", jobs, seconds=seconds), strict=True):
        if "died" in found:
            wrong.append(f"documents {job[1]} to {job[2] - 1} of seed {seed}: {found['died']}")
            continue
        accepted += found["accepted"]
        errors.update(found["errors"])
        wrong += [f"document {number} of seed {seed}, {reader}: {text}" for number, reader, text in found["failed"]]
    return accepted, errors, wrong


@click.command(help=__doc__)
@click.option("--n", default=2000, show_default=True, help="Documents.")
@click.option("--seed", default=0, show_default=True)
@click.option("--only", type=int, help="Number of one document, which is printed and tried in this process.")
def main(n: int, seed: int, only: int | None) -> None:
    if only is not None:
        print(mutated(seed, only))
        print(json.dumps(attempt([seed, only, only + 1]), indent=1))
        return
    start = time.monotonic()
    accepted, errors, wrong = run(seed, n)
    for text in wrong:
        print(text)
    told = ", ".join(f"{what} {number}" for what, number in errors.most_common(12))
    print(f"{n} documents, {len(READERS)} readers: {accepted} taken, {errors.total()} errors of ours ({told}), "
          f"{len(wrong)} wrong; {time.monotonic() - start:.0f} s")  # fmt: skip
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
