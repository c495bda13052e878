"""The compiled operators of mmcv, on torchvision's.

mmcv-lite comes without its compiled module ``mmcv._ext``, and compiling mmcv takes a quarter of an
hour. A cascade detector needs two operators of it, which torchvision has as well. :func:`install`
registers a stand-in module under that name; a compiled ``mmcv._ext`` is left alone.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import NoReturn

import torch
import torchvision  # noqa: F401  (registers torch.ops.torchvision)
from torch import Tensor

NAME = "mmcv._ext"


def install() -> str:
    """Make ``mmcv.ops`` importable; call before its first import.

    Returns:
        ``"compiled"`` where mmcv's own module exists, else ``"torchvision"``.
    """
    if isinstance(sys.modules.get(NAME), TorchvisionOps):
        return "torchvision"
    if NAME in sys.modules or importlib.util.find_spec(NAME) is not None:
        return "compiled"
    module = TorchvisionOps(NAME)
    module.__spec__ = ModuleSpec(NAME, loader=None)  # MMEngine asks for it to see whether mmcv is compiled
    sys.modules[NAME] = module
    return "torchvision"


class TorchvisionOps(ModuleType):
    """Stands in for ``mmcv._ext``; what torchvision lacks fails when it is called, not when it is imported."""

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*_args, **_kwargs) -> NoReturn:
            raise NotImplementedError(
                f"operator {name} of mmcv is not part of mmcv-lite and has no torchvision equivalent here; "
                "install mmcv 2.1 compiled for your torch to use it"
            )

        return missing

    @staticmethod
    def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
        """Indices of the boxes kept, by falling score.

        Args:
            boxes: (n, 4) x1, y1, x2, y2 in px.
            scores: (n,).
            iou_threshold: overlap above which the lower score goes.
            offset: 0; mmcv's old convention 1 (boxes that include their last pixel) is not offered.
        """
        if offset != 0:
            raise NotImplementedError(f"nms: expected offset 0, found {offset}; only compiled mmcv supports it")
        return torch.ops.torchvision.nms(boxes, scores, iou_threshold)

    @staticmethod
    def roi_align_forward(
        input: Tensor,
        rois: Tensor,
        output: Tensor,
        argmax_y: Tensor,
        argmax_x: Tensor,
        *,
        aligned_height: int,
        aligned_width: int,
        spatial_scale: float,
        sampling_ratio: int,
        pool_mode: int,
        aligned: bool,
    ) -> None:
        """Fill ``output`` (n, C, h, w) with features averaged inside ``rois`` (n, 5: image, x1, y1, x2, y2)."""
        _average_only(pool_mode)
        output.copy_(
            torch.ops.torchvision.roi_align(
                _single(input), _single(rois), spatial_scale, aligned_height, aligned_width, sampling_ratio, aligned
            )
        )

    @staticmethod
    def roi_align_backward(
        grad_output: Tensor,
        rois: Tensor,
        argmax_y: Tensor,
        argmax_x: Tensor,
        grad_input: Tensor,
        *,
        aligned_height: int,
        aligned_width: int,
        spatial_scale: float,
        sampling_ratio: int,
        pool_mode: int,
        aligned: bool,
    ) -> None:
        """Fill ``grad_input`` (B, C, H, W) with the gradient of :meth:`roi_align_forward`."""
        _average_only(pool_mode)
        grad_input.copy_(
            torch.ops.torchvision._roi_align_backward(
                _single(grad_output),  # in half precision the sum over overlapping boxes would lose what is small
                _single(rois),
                spatial_scale,
                aligned_height,
                aligned_width,
                *grad_input.shape,
                sampling_ratio,
                aligned,
            )
        )


def _single(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _average_only(pool_mode: int) -> None:
    if pool_mode != 1:
        raise NotImplementedError("roi_align: only pool_mode avg is supported without compiled mmcv")
