"""docs/library.md runs from top to bottom, in a folder with the sample, and prints what it says."""

import contextlib
import doctest
import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/library.md"
CHECKPOINT = Path("runs/sample/detector/round2/checkpoint.pth")

MICRO = """
from cuts3d_cli.detector.configs import embedded_cascade


def build(train):
    return embedded_cascade.build(train, width=8, channels=16, hidden=16, mask_convs=1)
"""


def blocks(text: str) -> list[tuple[str, str]]:
    """Every block of Python with the text block that follows it."""
    return re.findall(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", text, re.DOTALL)


@pytest.fixture
def checkout(tmp_path, dataset, monkeypatch) -> Path:
    """The sample, and a detector of one step where the page has the one of `make demo`."""
    pytest.importorskip("cuts3d_cli.detector")
    from cuts3d_cli.config import TrainConfig
    from cuts3d_cli.training import train

    monkeypatch.chdir(tmp_path)
    os.symlink(ROOT / "sample", "sample")
    Path("micro.py").write_text(MICRO)
    config = TrainConfig(
        detector="micro.py", iterations=1, batch_size=2, image_size=64, workers=0, loss="none", alpha_blend="none",
        copy_paste=False, warmup_iterations=0, lr_steps=[],
    )  # fmt: skip
    document = json.loads((dataset / "annotations.json").read_text())
    document["info"] = {"image_root": str(dataset / "images")}
    Path("labels.json").write_text(json.dumps(document))
    train.run(Path("labels.json"), CHECKPOINT.parent, config=config, device="cpu", threads=1)
    return tmp_path


@pytest.mark.skipif(not (ROOT / "sample").exists(), reason="sample/ is not part of this installation")
def test_the_page_prints_what_it_says(checkout):
    names: dict = {}
    found = blocks(PAGE.read_text())
    assert len(found) == PAGE.read_text().count("```python")
    for code, expected in found:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(code, str(PAGE), "exec"), names)
        assert doctest.OutputChecker().check_output(expected, out.getvalue(), doctest.ELLIPSIS), (
            f"{code}\nprints\n{out.getvalue()}\nand not\n{expected}"
        )
    drawn = np.asarray(Image.open("found.png"))
    assert drawn.shape == names["rgb"].shape and (drawn != names["rgb"]).any()
