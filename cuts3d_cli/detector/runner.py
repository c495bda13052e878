"""The training loop: MMEngine's runner with exact resuming, our choice of device, parts of a step and clipping."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from mmdet.registry import LOOPS, OPTIM_WRAPPERS
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cuts3d_cli.detector import distributed
from cuts3d_cli.threads import n_cores


@LOOPS.register_module()
class ExactIterLoop(IterBasedTrainLoop):
    """Iterations whose data loader starts at the right position itself, each a step of the optimiser.

    The parent draws and throws away all samples before the one it resumes from.

    Args:
        accumulate: parts that a batch goes through the network in.
    """

    def __init__(self, *args, accumulate: int = 1, **kwargs):
        super().__init__(*args, **kwargs)
        self.accumulate = accumulate

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

    def run_iter(self, data_batch: dict[str, list]) -> None:
        """One step, with the hooks before and after it."""
        self.runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=data_batch)
        outputs = train_step(self.runner.model, data_batch, self.runner.optim_wrapper, self.accumulate)
        self.runner.call_hook("after_train_iter", batch_idx=self._iter, data_batch=data_batch, outputs=outputs)
        self._iter += 1


def train_step(model: nn.Module, batch: dict[str, list], optimizer: OptimWrapper, parts: int = 1) -> dict[str, Tensor]:
    """One step of the optimiser on a batch, in parts that each leave their mean gradient.

    For a loss that is a mean over the images the gradient is that of the whole batch, where
    nothing in the network depends on the other images (batch norm does: it sees one part).

    Args:
        model: a detector, or several processes' common one.
        batch: lists of the same length by name.
        optimizer: of the model.
        parts: how many.

    Returns:
        Losses by name, the mean over parts and processes.
    """
    bare, logs = unwrapped(model), []
    pieces = list(split_batch(batch, parts))
    for number, piece in enumerate(pieces, start=1):
        last = number == len(pieces)
        with nullcontext() if last or bare is model else model.no_sync():  # processes exchange gradients once a step
            with optimizer.optim_context(model):
                data = bare.data_preprocessor(piece, True)
                loss, values = bare.parse_losses(model(**data, mode="loss"))
            optimizer.backward(loss / len(pieces))
        logs.append(values)
    optimizer.step()
    optimizer.zero_grad()
    stacked = torch.stack([torch.stack([values[key].detach().float() for key in logs[0]]) for values in logs])
    return dict(zip(logs[0], distributed.all_reduce_mean(stacked.mean(dim=0)), strict=True))


def split_batch(batch: dict[str, list], parts: int) -> Iterator[dict[str, list]]:
    """The batch in ``parts`` of equal length, in order."""
    length = len(next(iter(batch.values()))) // parts
    for number in range(parts):
        yield {key: values[number * length : (number + 1) * length] for key, values in batch.items()}


class _ClipByTensor:
    """Clips the gradient's norm tensor by tensor, as CutLER; MMEngine clips all together."""

    def _clip_grad(self) -> None:
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    torch.nn.utils.clip_grad_norm_(parameter, **self.clip_grad_kwargs)


@OPTIM_WRAPPERS.register_module()
class TensorClipOptimWrapper(_ClipByTensor, OptimWrapper):
    """Full precision with clipping tensor by tensor."""


@OPTIM_WRAPPERS.register_module()
class TensorClipAmpOptimWrapper(_ClipByTensor, AmpOptimWrapper):
    """Half precision with clipping tensor by tensor; gradients are unscaled before (MMEngine's own order)."""


HALF_PRECISION = {"TensorClipOptimWrapper": "TensorClipAmpOptimWrapper", "OptimWrapper": "AmpOptimWrapper"}
"""Optimiser wrappers and what takes their place in half precision."""


class DeviceRunner(Runner):
    """A runner on a named device, quiet about the machine it runs on."""

    def __init__(self, *args: Any, device: torch.device, **kwargs: Any):
        self.device = device
        super().__init__(*args, **kwargs)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Move the model to the device; synchronise it and its batch norm where there are several processes."""
        alone, gpu = distributed.get_world_size() == 1, self.device.type == "cuda"
        if alone or not gpu:  # torch's SyncBatchNorm needs GPUs
            model = revert_sync_batchnorm(model)
        model = model.to(self.device)
        if alone:
            return model
        # Heads without a positive region leave parameters unused. Running statistics are each process's own:
        # the first one's are saved, or those of all (train.precise_bn).
        return DistributedDataParallel(
            model, [self.device] if gpu else None, broadcast_buffers=False, find_unused_parameters=True
        )

    def _log_env(self, env_cfg: dict) -> None:
        """Nothing: the run's own config records what matters."""


def unwrapped(model: nn.Module) -> nn.Module:
    """The detector itself, without what makes it several processes' common one."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def limit_threads(threads: int | None = None) -> None:
    """Set torch's threads: ``threads`` if given, else what the environment says; never more than the cores.

    More threads than cores make a training many times slower.
    """
    torch.set_num_threads(max(1, min(threads or torch.get_num_threads(), n_cores())))
