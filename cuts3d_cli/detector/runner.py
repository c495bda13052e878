"""The training loop: MMEngine's runner with exact resuming, our choice of device and per-tensor clipping."""

from __future__ import annotations

import os
from typing import Any

import torch
from mmdet.registry import LOOPS, OPTIM_WRAPPERS
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn


@LOOPS.register_module()
class ExactIterLoop(IterBasedTrainLoop):
    """Iterations whose data loader starts at the right position itself.

    The parent draws and throws away all samples before the one it resumes from.
    """

    def run(self) -> nn.Module:
        """Train to the last iteration."""
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        while self._iter < self._max_iters:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model


@OPTIM_WRAPPERS.register_module()
class TensorClipOptimWrapper(OptimWrapper):
    """Clips the gradient's norm tensor by tensor, as CutLER; MMEngine clips all together."""

    def _clip_grad(self) -> None:
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    torch.nn.utils.clip_grad_norm_(parameter, **self.clip_grad_kwargs)


class DeviceRunner(Runner):
    """A runner on a named device, quiet about the machine it runs on."""

    def __init__(self, *args: Any, device: torch.device, **kwargs: Any):
        self.device = device
        super().__init__(*args, **kwargs)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Move the model to the device."""
        return revert_sync_batchnorm(model.to(self.device))

    def _log_env(self, env_cfg: dict) -> None:
        """Nothing: the run's own config records what matters."""


def limit_threads(threads: int | None = None) -> None:
    """Set torch's threads: ``threads`` if given, else what the environment says; never more than the cores.

    More threads than cores make a training many times slower.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(max(1, min(threads or torch.get_num_threads(), cores)))
