"""The script that makes the pictures of docs/gallery.md, on drawn scenes."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts import gallery

ROOT = Path(__file__).resolve().parents[1]
QUICK = ("--preset", "embedded", "--set", "localcut.local_cut=false", "--set", "localcut.sharpen=false",
         "--set", "features.image_size=96", "--set", "crf.enabled=false")  # fmt: skip


def test_a_picture_of_a_series(dataset, tmp_path, monkeypatch):
    photographs = tuple(str(dataset / f"images/s{n}.png") for n in (1, 2))
    monkeypatch.setitem(gallery.SERIES, "drawn", gallery.Series(photographs, QUICK))
    gallery.main([str(tmp_path), "--series", "drawn"])
    (picture,) = tmp_path.iterdir()
    shown = np.asarray(Image.open(picture))
    assert picture.name == "gallery_drawn.jpg" and shown.shape[1] <= gallery.WIDTH_PX and shown.std() > 10


def test_a_photograph_that_is_not_there_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(gallery.SERIES, "drawn", gallery.Series(("nosuch.png",)))
    with pytest.raises(SystemExit):
        gallery.main([str(tmp_path), "--series", "drawn"])
    assert capsys.readouterr().err.startswith("cuts3d: error: no photograph nosuch.png")


def test_the_page_shows_every_series():
    page = (ROOT / "docs/gallery.md").read_text()
    assert sorted(re.findall(r"\(gallery_(\w+)\.jpg\)", page)) == sorted(gallery.SERIES)
