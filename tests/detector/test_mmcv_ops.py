import pytest
import torch
import torchvision

from cuts3d_cli.detector.mmcv_ops import TorchvisionOps, install


def boxes(n, seed=0, size=20.0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, 2, generator=generator) * size
    return torch.cat([corner, corner + 1 + torch.rand(n, 2, generator=generator) * size / 2], dim=1)


def test_installing_twice_changes_nothing():
    assert install() == install()


def test_nms_keeps_what_torchvision_keeps():
    from mmcv.ops import nms

    candidates, scores = boxes(60), torch.rand(60, generator=torch.Generator().manual_seed(1))
    detections, kept = nms(candidates, scores, 0.3)
    expected = torchvision.ops.nms(candidates, scores, 0.3)
    assert 0 < len(expected) < 60
    torch.testing.assert_close(kept, expected)
    torch.testing.assert_close(detections[:, :4], candidates[expected])


@pytest.mark.parametrize("sampling_ratio", [0, 1, 2])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_roi_align_and_its_gradient(sampling_ratio, aligned, scale):
    from mmcv.ops import RoIAlign

    generator = torch.Generator().manual_seed(2)
    features = torch.rand(2, 3, 16, 18, generator=generator, requires_grad=True)
    other = features.detach().clone().requires_grad_()
    rois = torch.cat([torch.tensor([[0.0], [1.0], [1.0], [0.0]]), boxes(4, size=16 / scale)], dim=1)
    ours = RoIAlign((5, 4), scale, sampling_ratio, "avg", aligned)(features, rois)
    theirs = torchvision.ops.roi_align(other, rois, (5, 4), scale, sampling_ratio or -1, aligned)
    torch.testing.assert_close(ours, theirs)
    weight = torch.rand(ours.shape, generator=generator)
    (ours * weight).sum().backward()
    (theirs * weight).sum().backward()
    torch.testing.assert_close(features.grad, other.grad)
    assert features.grad.abs().sum() > 0


def test_half_precision_sums_gradients_in_full():
    from mmcv.ops import RoIAlign

    generator = torch.Generator().manual_seed(2)
    features = torch.rand(1, 2, 8, 8, generator=generator)
    rois = torch.tensor([[0.0, 1, 1, 6, 6]] * 300)  # many boxes on the same cells: bfloat16 stops counting at 256
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        own = features.detach().to(dtype).requires_grad_()
        found = RoIAlign((2, 2), 1.0, 1, "avg", True)(own, rois.to(dtype))
        assert found.dtype == dtype
        found.sum().backward()
        gradients.append(own.grad.float())
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0.01, atol=0.01)


def test_what_torchvision_lacks_says_so():
    module = TorchvisionOps("mmcv._ext")
    with pytest.raises(NotImplementedError, match=r"softnms.*install mmcv"):
        module.softnms(1)
    with pytest.raises(NotImplementedError, match="offset 0"):
        module.nms(boxes(2), torch.ones(2), iou_threshold=0.5, offset=1)


def test_a_compiled_module_is_left_alone(monkeypatch):
    import sys
    from types import ModuleType

    compiled = ModuleType("mmcv._ext")
    monkeypatch.setitem(sys.modules, "mmcv._ext", compiled)
    assert install() == "compiled"
    assert sys.modules["mmcv._ext"] is compiled
