import numpy as np

from cuts3d_cli.core.image_sizes import image_sized_mask, working_image


def test_working_image_is_square_and_its_own():
    """Red left half, blue right half, wider than high."""
    scene = np.zeros((20, 40, 3), np.uint8)
    scene[:, :20, 0] = scene[:, 20:, 2] = 255
    work = working_image(scene, 32)
    assert work.shape == (32, 32, 3)
    assert work.dtype == np.uint8
    assert work.flags.writeable
    assert work[16, 2, 0] == 255 and work[16, 30, 2] == 255


def test_one_pixel_fills_the_working_image():
    assert (working_image(np.array([[[1, 2, 3]]], np.uint8), 480) == (1, 2, 3)).all()


def test_a_mask_is_cut_at_half_of_its_largest_value():
    """A small mask on a much smaller image nowhere reaches the full value; the released code keeps it."""
    mask = np.zeros((480, 480), bool)
    mask[240:248, 240:248] = True
    assert image_sized_mask(mask, (48, 48)).sum() == 1 and image_sized_mask(mask, (20, 30)).any()
    assert np.array_equal(image_sized_mask(mask, (480, 480)), mask)
    half = np.zeros((8, 8), bool)
    half[:, 4:] = True
    assert np.array_equal(image_sized_mask(half, (4, 4)), half[::2, ::2])
    assert not image_sized_mask(np.zeros((8, 8), bool), (4, 4)).any()
    assert image_sized_mask(np.ones((8, 8), bool), (4, 4)).all()
