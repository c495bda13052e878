"""Training of the head: cached tokens, pixels and truth in, a state dict out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch

from cuts3d_cli.backends.depth_embedded import FINER, PIXELS, DepthHead, grid_of, normalised, resized

from .losses import depth_loss, resized_truth, standardised
from .readers import Pair
from .tokens import TokenCache

WINDOW = 0.65
"""Sides of a cut, in sides of the grid."""


class Recipe(NamedTuple):
    """What a training run is made of, beside its data."""

    steps: int = 1500
    batch: int = 8
    rate: float = 2e-3
    decay: float = 0.05
    gradient: float = 0.25
    seed: int = 0
    balance: float = 0.6
    """A dataset's fraction of the samples goes with its number of images to this power."""
    fine: float = 0.2
    """Share of batches that train the upsampling too; the others end at two values a patch side."""
    crop: float = 0.5
    """Share of batches that are cut to `WINDOW` of either side of the grid."""


class Sample(NamedTuple):
    """An image in one orientation, ready for the head: uint8 pixels and float16 truth kept in memory."""

    pair: Pair
    flip: bool
    grid: tuple[int, int]
    source: int


class Samples:
    """Training samples by grid, drawn dataset by dataset.

    Args:
        sources: pairs of each dataset.
        flips: for each dataset, whether mirrored images are taken too.
        cache: tokens.
    """

    def __init__(self, sources: list[list[Pair]], flips: list[bool], cache: TokenCache):
        self.cache = cache
        self._kept: dict[tuple[str, bool], tuple[torch.Tensor, torch.Tensor]] = {}
        self.samples = [
            Sample(pair, flip, grid_of(*pair.rgb().shape[:2]), number)
            for number, (pairs, mirrored) in enumerate(zip(sources, flips, strict=True))
            for pair in pairs
            for flip in ((False, True) if mirrored else (False,))
        ]

    def order(self, count: int, balance: float, random: np.random.Generator) -> list[Sample]:
        """``count`` samples, each dataset's share by its size to the power of ``balance``."""
        sizes = np.bincount([sample.source for sample in self.samples])
        share = np.array([sizes[sample.source] ** (balance - 1.0) for sample in self.samples])
        drawn = []
        while len(drawn) < count:  # without repeats as far as the shares allow
            keys = random.random(len(self.samples)) ** (1 / share)
            drawn += np.argsort(-keys)[: len(self.samples) // 2].tolist()
        return [self.samples[index] for index in drawn[:count]]

    def batches(self, recipe: Recipe, random: np.random.Generator) -> Iterator[list[Sample]]:
        """``recipe.steps`` batches of samples that share a grid."""
        waiting: dict[tuple[int, int], list[Sample]] = {}
        done = 0
        while done < recipe.steps:
            for sample in self.order(len(self.samples), recipe.balance, random):
                group = waiting.setdefault(sample.grid, [])
                group.append(sample)
                if len(group) == recipe.batch:
                    yield waiting.pop(sample.grid)
                    done += 1
                    if done == recipe.steps:
                        return

    def arrays(self, sample: Sample) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
        """Tokens (4, 1 + rows * cols, C) float16, pixels (16 rows, 16 cols, 3) uint8 and truth (8 rows, 8 cols)."""
        key = (sample.pair.key, sample.flip)
        rows, cols = sample.grid
        if key not in self._kept:
            pixels = torch.from_numpy(resized(sample.pair.rgb(), PIXELS * rows, PIXELS * cols))
            truth = resized_truth(torch.from_numpy(sample.pair.inverse()), PIXELS // 2 * rows, PIXELS // 2 * cols)
            if sample.flip:
                pixels, truth = pixels.flip(1), truth.flip(1)
            self._kept[key] = pixels, truth
        rgb = None if self.cache.path(sample.pair.key, sample.grid, sample.flip).is_file() else sample.pair.rgb()
        return self.cache.get(sample.pair.key, rgb, sample.flip, grid=sample.grid), *self._kept[key]


RIDGE = 0.003
"""Weight of the squared coefficients in the linear start, in mean squares of the features."""


@torch.no_grad()
def start_linear(head: DepthHead, samples: Samples, seed: int, per_image: int = 150) -> None:
    """Set the head's linear map to the ridge regression of standardised inverse depth on the tokens."""
    random = np.random.default_rng(seed)
    side = head.probe.in_features + 1
    gram, moment = torch.zeros(side, side), torch.zeros(side)
    for sample in samples.samples:
        tokens, _, truth = samples.arrays(sample)
        known = torch.isfinite(truth)[None]
        values = torch.where(known, standardised(torch.nan_to_num(truth)[None], known), torch.nan)[0]
        step = PIXELS // 2
        cells = values.unfold(0, step, step).unfold(1, step, step).flatten(2).nanmean(dim=2).flatten()
        usable = torch.nonzero(torch.isfinite(cells))[:, 0].numpy()
        chosen = torch.from_numpy(random.permutation(usable)[:per_image])
        inputs = head.joined(torch.from_numpy(tokens[None]).float())[0, 1:][chosen]
        inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)
        gram += inputs.T @ inputs
        moment += inputs.T @ cells[chosen].clamp(-4, 4)
    gram += RIDGE * gram.diagonal().mean() * torch.eye(side)
    found = torch.linalg.solve(gram.double(), moment.double()).float()
    head.probe.weight.copy_(found[None, :-1])
    head.probe.bias.copy_(found[-1:])


def train(
    samples: Samples, recipe: Recipe, head: DepthHead, device: torch.device, report: Callable[[str], None] = print
) -> DepthHead:
    """Train ``head`` by ``recipe``; the same seed, data and number of threads give the same weights on a CPU."""
    random = np.random.default_rng(recipe.seed)
    head = head.to(device, memory_format=torch.channels_last).train()
    weights = [value for value in head.parameters() if value.ndim > 1]
    others = [value for value in head.parameters() if value.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": weights, "weight_decay": recipe.decay}, {"params": others, "weight_decay": 0.0}], lr=recipe.rate
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1.0, 10 * (step + 1) / recipe.steps) * (1 + math.cos(math.pi * step / recipe.steps)) / 2,
    )
    half = torch.float16 if device.type == "cuda" else torch.bfloat16
    total = 0.0
    for step, batch in enumerate(samples.batches(recipe, random), 1):
        tokens, images, truth = (part.to(device) for part in _collated(samples, batch, recipe, random))
        with torch.autocast(device.type, dtype=half):
            fine = random.random() < recipe.fine
            found = head(tokens.float(), images.contiguous(memory_format=torch.channels_last), fine=fine)
        if not fine:
            truth = truth[:, FINER // 2 :: FINER, FINER // 2 :: FINER]
        loss = depth_loss(found.float(), truth, gradient=recipe.gradient, scales=4 if fine else 3, far=True)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        total += loss.item()
        if step % 100 == 0 or step == recipe.steps:
            report(f"step {step} of {recipe.steps}: loss {total / (step % 100 or 100):.4f}")
            total = 0.0
    return head.eval()


def _collated(samples: Samples, batch: list[Sample], recipe: Recipe, random: np.random.Generator):
    """Tokens, pixels and truth of a batch, all cut to the same window of the grid; pixels with another colouring."""
    rows, cols = batch[0].grid
    window = (0, rows, 0, cols)
    if random.random() < recipe.crop:
        high, wide = round(WINDOW * rows), round(WINDOW * cols)
        top, left = random.integers(rows - high + 1), random.integers(cols - wide + 1)
        window = (top, top + high, left, left + wide)
    cut = [_cut(*samples.arrays(sample), batch[0].grid, window, random) for sample in batch]
    return [torch.stack(parts) for parts in zip(*cut, strict=True)]


def _cut(tokens, pixels, truth, grid, window, random):
    top, bottom, left, right = window
    inner = tokens[:, 1:].reshape(len(tokens), *grid, -1)[:, top:bottom, left:right]
    inner = inner.reshape(len(tokens), -1, tokens.shape[-1])
    both = torch.from_numpy(np.concatenate([tokens[:, :1], inner], axis=1))
    image = pixels[PIXELS * top : PIXELS * bottom, PIXELS * left : PIXELS * right].numpy()
    step = PIXELS // 2
    return (
        both,
        recoloured(normalised(image, torch.device("cpu"))[0], random),
        truth[step * top : step * bottom, step * left : step * right],
    )


def recoloured(image: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """``image`` (3, H, W) with another contrast, brightness and tint, sometimes grey.

    The tokens stay those of the true colours: this keeps the pixel path to edges.
    """
    if random.random() < 0.2:
        image = image.mean(dim=0, keepdim=True).expand(3, -1, -1)
    gain = 1 + 0.3 * random.standard_normal() + 0.1 * random.standard_normal((3, 1, 1))
    shift = 0.2 * random.standard_normal() + 0.1 * random.standard_normal((3, 1, 1))
    return image * torch.from_numpy(gain).float() + torch.from_numpy(np.asarray(shift)).float()
