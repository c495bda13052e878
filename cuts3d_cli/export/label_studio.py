"""Label Studio: tasks to import, the masks as predictions with brush masks, which keep holes and parts.

``/data/local-files/?d=...`` is the address of a file on the disk of the server, relative to its document root; see
docs/export.md.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from cuts3d_cli import __version__
from cuts3d_cli.export.objects import ImageObjects, Object, class_names, objects_of, xml_text
from cuts3d_cli.report.overlay import colours
from cuts3d_cli.store.masks import MaskFile

RUN_BITS = (4, 8, 12, 16)
"""Bits that the length of a run, less one, may take; a longer run is cut in several."""

CHANNELS = 4
"""A brush mask is a picture with red, green, blue and opacity."""


def write(masks: MaskFile, folder: Path) -> Counter[str]:
    """Write ``tasks.json`` and ``labels.xml``, the labelling configuration of the project."""
    lost: Counter[str] = Counter()
    with (folder / "tasks.json").open("w", encoding="utf-8") as file:
        for number, image in enumerate(objects_of(masks, lost)):
            file.write(("[" if number == 0 else ",") + "\n" + json.dumps(_task(image)))
        file.write("\n]\n" if masks.images else "[]\n")
    (folder / "labels.xml").write_text(_configuration(class_names(masks)), encoding="utf-8")
    return lost


def _task(image: ImageObjects) -> dict[str, Any]:
    results = [_result(each, image.size_hw) for each in image.objects]
    scores = [each.score for each in image.objects]
    prediction = {
        "model_version": f"cuts3d {__version__}",
        "score": round(float(np.mean(scores)), 6) if scores else 0.0,
        "result": results,
    }
    return {
        "data": {
            "image": f"/data/local-files/?d={quote(image.file_name, errors='surrogateescape')}",
            "file_name": image.file_name,
        },
        "predictions": [prediction],
    }


def _result(each: Object, size_hw: tuple[int, int]) -> dict[str, Any]:
    return {
        "id": f"object{each.number}",
        "type": "brushlabels",
        "from_name": "mask",
        "to_name": "image",
        "original_width": size_hw[1],
        "original_height": size_hw[0],
        "image_rotation": 0,
        "score": round(each.score, 6),
        **({} if each.quality is None else {"meta": {"text": [f"quality {each.quality:.3f}"]}}),
        "value": {"format": "rle", "rle": brush_code(each.mask), "brushlabels": [xml_text(each.label)]},
    }


def brush_code(mask: np.ndarray) -> list[int]:
    """Bytes of Label Studio's run-length code of a mask (H, W) bool.

    All in bits, the high one first: 32 for the number of values, 5 for the bits of a value less one, 4 times 4 for the
    bits of a run's length less one; then for each run 1, 2 bits for which of the four, the length less one, the value.
    """
    flat = mask.ravel()
    ends = np.r_[np.flatnonzero(flat[1:] != flat[:-1]) + 1, flat.size]
    bits = [f"{CHANNELS * flat.size:032b}", f"{7:05b}", *(f"{n - 1:04b}" for n in RUN_BITS)]
    longest = 1 << RUN_BITS[-1]
    for end, length in zip(ends.tolist(), np.diff(ends, prepend=0).tolist(), strict=True):
        value = f"{255 if flat[end - 1] else 0:08b}"
        left = CHANNELS * length
        while left:
            n = min(left, longest)
            size = next(i for i, width in enumerate(RUN_BITS) if n <= 1 << width)
            bits.append(f"1{size:02b}{n - 1:0{RUN_BITS[size]}b}{value}")
            left -= n
    text = "".join(bits)
    return np.packbits(np.frombuffer(text.encode("ascii"), np.uint8) - ord("0")).tolist()


def _configuration(names: list[str]) -> str:
    labels = [
        f'    <Label value={quoteattr(xml_text(name))} background="#{r:02x}{g:02x}{b:02x}"/>'
        for name, (r, g, b) in zip(names, colours(len(names)).tolist(), strict=True)
    ]
    return "\n".join(
        [
            "<View>",
            '  <Image name="image" value="$image" zoom="true"/>',
            '  <BrushLabels name="mask" toName="image">',
            *labels,
            "  </BrushLabels>",
            "</View>\n",
        ]
    )
