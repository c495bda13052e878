"""Whatever lies in a folder becomes upright 8-bit RGB, or one line that says why not."""

import os
import zlib

import numpy as np
import pytest
from PIL import Image

from cuts3d_cli.errors import ImageError
from cuts3d_cli.store import images

# Red left half, blue right half, wider than high: a turn or a mirror image shows.
SCENE = np.zeros((20, 40, 3), np.uint8)
SCENE[:, :20, 0] = 255
SCENE[:, 20:, 2] = 255


def saved(tmp_path, name, picture, **options):
    path = tmp_path / name
    picture.save(path, **options)
    return path


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block


@pytest.mark.parametrize(
    ("name", "tolerance"), [("a.png", 0), ("a.bmp", 0), ("a.webp", 40), ("a.jpg", 40), ("a.tif", 0), ("a.ppm", 0)]
)
def test_formats(tmp_path, name, tolerance):
    path = saved(tmp_path, name, Image.fromarray(SCENE))
    read = images.read_image(path)
    assert read.dtype == np.uint8
    assert images.image_size(path) == read.shape[:2] == (20, 40)
    away_from_edge = np.r_[0:18, 22:40]
    assert np.abs(read.astype(int) - SCENE)[:, away_from_edge].max() <= tolerance
    assert path.suffix in images.IMAGE_SUFFIXES


def test_grey_and_palette(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    read = images.read_image(saved(tmp_path, "grey.png", Image.fromarray(grey)))
    assert np.array_equal(read, np.repeat(grey[..., None], 3, axis=2))
    palette = Image.fromarray(SCENE).convert("P", palette=Image.Palette.ADAPTIVE)
    assert np.array_equal(images.read_image(saved(tmp_path, "p.png", palette)), SCENE)
    assert images.read_image(saved(tmp_path, "one.png", Image.new("1", (5, 4), 1))).min() == 255


def test_cmyk_jpeg(tmp_path):
    read = images.read_image(saved(tmp_path, "cmyk.jpg", Image.fromarray(SCENE).convert("CMYK"), quality=95))
    assert np.abs(read[5, 5].astype(int) - SCENE[5, 5]).max() < 40


@pytest.mark.parametrize("hidden", [(0, 0, 0), (255, 0, 255)])
def test_transparent_pixels_become_white_whatever_they_hide(tmp_path, hidden):
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[..., :3] = hidden
    rgba[:2] = (10, 20, 30, 255)
    read = images.read_image(saved(tmp_path, "rgba.png", Image.fromarray(rgba)))
    assert (read[:2] == (10, 20, 30)).all()
    assert (read[2:] == 255).all()


def test_transparent_palette_entry(tmp_path):
    picture = Image.fromarray(np.zeros((3, 3), np.uint8)).convert("P")
    assert (images.read_image(saved(tmp_path, "p.png", picture, transparency=0)) == 255).all()


@pytest.mark.parametrize("name", ["grey16.png", "grey16.tif"])
def test_16_bit_grey_is_scaled_by_its_type(tmp_path, name):
    grey = np.array([[0, 257, 32768, 65535]], np.uint16)
    read = images.read_image(saved(tmp_path, name, Image.fromarray(grey)))
    assert read[..., 0].tolist() == [[0, 1, 128, 255]]


def test_float_tiff(tmp_path):
    unit = np.array([[0.0, 0.5, 1.0]], np.float32)
    assert images.read_image(saved(tmp_path, "u.tif", Image.fromarray(unit)))[0, :, 0].tolist() == [0, 128, 255]
    assert images.read_image(saved(tmp_path, "b.tif", Image.fromarray(unit * 200)))[0, :, 0].tolist() == [0, 100, 200]
    for k, wrong in enumerate([unit - 1, unit * 1e5, unit * np.nan]):
        with pytest.raises(ImageError, match="not grey levels"):
            images.read_image(saved(tmp_path, f"w{k}.tif", Image.fromarray(wrong)))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation, suffix):
    from PIL import ImageOps

    path = saved(tmp_path, f"e.{suffix}", Image.fromarray(SCENE), exif=exif(orientation))
    read = images.read_image(path)
    assert images.image_size(path) == read.shape[:2] and images.exif_orientation(path) == orientation
    with Image.open(path) as reference:
        reference.load()
        assert np.array_equal(read, np.asarray(ImageOps.exif_transpose(reference).convert("RGB")))
    if orientation == 6 and suffix != "tif":  # a camera held upright: the stored left is the top
        assert read.shape == (40, 20, 3)
        assert read[5, 10, 0] > 200


@pytest.mark.parametrize("orientation", [3, 6, 7])
@pytest.mark.parametrize("mode", ["I;16", "L", "RGBA"])
def test_uncompressed_tiff_is_turned_like_other_formats(tmp_path, mode, orientation):
    values = SCENE[..., 0].astype(np.uint16) * 257 if mode == "I;16" else SCENE
    picture = Image.fromarray(values) if mode == "I;16" else Image.fromarray(values).convert(mode)
    png, tif = (saved(tmp_path, f"e.{suffix}", picture, exif=exif(orientation)) for suffix in ("png", "tif"))
    assert np.array_equal(images.read_image(png), images.read_image(tif))
    assert images.read_image(tif).shape[:2] == images.image_size(tif)


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    path = saved(tmp_path, "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert (images.read_image(path) == (255, 0, 0)).all()


def test_one_pixel(tmp_path):
    path = saved(tmp_path, "one.png", Image.new("RGB", (1, 1), (1, 2, 3)))
    read = images.read_image(path)
    assert read.tolist() == [[[1, 2, 3]]]


def error_of(path):
    with pytest.raises(ImageError) as caught:
        images.read_image(path)
    line = str(caught.value)
    assert "\n" not in line
    assert path.name in line
    return line


def test_damaged_files(tmp_path):
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for name in ("t.jpg", "t.png", "t.tif", "t.webp"):
        path = saved(tmp_path, name, noise)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        error_of(path)
    for name, content, reason in [
        ("zero.jpg", b"", "empty file"),
        ("text.png", b"not an image", "no known image format"),
    ]:
        path = tmp_path / name
        path.write_bytes(content)
        assert reason in error_of(path)
        with pytest.raises(ImageError):
            images.image_size(path)
    assert "does not exist" in error_of(tmp_path / "missing.png")
    error_of(tmp_path)  # a folder


def test_flipped_bytes_never_raise_anything_else(tmp_path):
    rng = np.random.default_rng(1)
    noise = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
    outcomes = set()
    for name in ("f.jpg", "f.png", "f.tif", "f.gif", "f.bmp", "f.webp"):
        path = saved(tmp_path, name, noise)
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(25):
            broken = whole.copy()
            broken[rng.integers(0, min(200, len(broken)), 4)] = rng.integers(0, 256, 4)
            path.write_bytes(broken.tobytes())
            try:
                read = images.read_image(path)
                outcomes.add("read")
                assert read.dtype == np.uint8 and read.shape[2] == 3
            except ImageError:
                outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_decompression_bomb_is_refused_from_its_header(tmp_path, monkeypatch):
    path = saved(tmp_path, "big.png", Image.new("1", (200, 100)))
    monkeypatch.setattr(images, "MAX_PIXELS", 200 * 100 - 1)
    assert "too large" in error_of(path)
    with pytest.raises(ImageError, match="200 x 100"):
        images.image_size(path)


def test_a_header_that_claims_gigapixels(tmp_path):
    """Of a size at which Pillow itself refuses to open the file."""
    path = saved(tmp_path, "bomb.png", Image.new("1", (2, 2)))
    content = bytearray(path.read_bytes())
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    assert f"too large; expected at most {images.MAX_PIXELS} pixels; found Image size (3600000000" in error_of(path)


def test_the_content_decides_and_nothing_is_interpreted(tmp_path):
    picture = Image.fromarray(SCENE)
    for kind in ("PNG", "BMP", "TIFF"):
        picture.save(tmp_path / "x.jpg", kind)
        assert np.array_equal(images.read_image(tmp_path / "x.jpg"), SCENE)
    picture.save(tmp_path / "x.jpg", "EPS")  # a program, which Pillow would give to Ghostscript
    assert "no known image format" in error_of(tmp_path / "x.jpg")


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to("loop.png")
    for name, found in (("pipe", "a pipe or a device"), ("folder", "a folder"), ("loop", "a link that leads nowhere")):
        assert f"{name}.png; expected a file; found {found}" in error_of(tmp_path / f"{name}.png")


def test_size_is_read_without_decoding(tmp_path):
    path = saved(
        tmp_path, "t.png", Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8))
    )
    path.write_bytes(path.read_bytes()[:200])
    assert images.image_size(path) == (64, 48)
    error_of(path)
