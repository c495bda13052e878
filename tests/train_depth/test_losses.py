"""Properties of the scale-and-shift-invariant loss."""

import pytest

torch = pytest.importorskip("torch")

from scripts.train_depth.losses import depth_loss, resized_truth  # noqa: E402


@pytest.fixture
def truth():
    torch.manual_seed(0)
    found = torch.rand(2, 24, 32)
    found[:, :4, :5] = torch.nan
    return found


def test_zero_at_the_truth_whatever_scale_and_shift(truth):
    predicted = 3.7 * torch.nan_to_num(truth, nan=9.0) - 12
    assert depth_loss(predicted, truth).item() == pytest.approx(0, abs=1e-5)


def test_scale_and_shift_of_either_map_change_nothing(truth):
    predicted = torch.rand(2, 24, 32)
    loss = depth_loss(predicted, truth)
    torch.testing.assert_close(depth_loss(5 * predicted + 2, truth), loss)
    torch.testing.assert_close(depth_loss(predicted, 0.1 * truth - 3), loss)


def test_relative_errors_weigh_more_far_away():
    truth = torch.linspace(0.1, 1, 32).expand(1, 16, 32)
    near, far = truth.clone(), truth.clone()
    far[:, :8, :4] += 0.1
    near[:, :8, -4:] += 0.1
    assert depth_loss(truth, truth, far=True).item() == pytest.approx(0, abs=1e-6)
    plain, weighted = (
        depth_loss(far, truth, gradient=0.0, far=on) / depth_loss(near, truth, gradient=0.0, far=on)
        for on in (False, True)
    )
    assert weighted > 1.5 * plain


def test_depth_that_runs_the_other_way_is_worse_than_noise(truth):
    assert depth_loss(-torch.nan_to_num(truth), truth) > depth_loss(torch.rand_like(truth), truth)


def test_unknown_pixels_neither_count_nor_get_a_gradient(truth):
    predicted = torch.rand(2, 24, 32, requires_grad=True)
    depth_loss(predicted, truth).backward()
    assert (predicted.grad[truth.isnan()] == 0).all() and predicted.grad.isfinite().all()
    other = predicted.detach().clone()
    other[truth.isnan()] = 1e3
    torch.testing.assert_close(depth_loss(other, truth), depth_loss(predicted.detach(), truth))


def test_gradient_terms_want_a_step_and_not_a_ramp():
    step = torch.zeros(1, 16, 64)
    step[..., 32:] = 1
    ramp = torch.linspace(0, 1, 64).expand(1, 16, 64)
    soft = torch.sigmoid((torch.arange(64) - 31.5) / 3).expand(1, 16, 64)

    def terms(predicted):
        return (depth_loss(predicted, step, gradient=1.0) - depth_loss(predicted, step, gradient=0.0)).item()

    assert terms(step) == pytest.approx(0, abs=1e-6)
    assert terms(step) < terms(soft) < terms(ramp)


def test_maps_without_truth_or_contrast_do_not_break_it():
    flat = torch.zeros(1, 8, 8, requires_grad=True)
    for truth in (torch.full((1, 8, 8), torch.nan), torch.ones(1, 8, 8), torch.rand(1, 8, 8)):
        loss = depth_loss(flat, truth)
        loss.backward()
        assert loss.isfinite() and flat.grad.isfinite().all()


def test_truth_is_resized_without_new_values():
    truth = torch.tensor([[1.0, 1.0, 5.0, torch.nan]]).repeat(4, 1)
    found = resized_truth(truth, 6, 10)
    assert set(found[found.isfinite()].tolist()) == {1.0, 5.0} and found[:, -1].isnan().all()
