"""Command line: ``python -m scripts.train_depth train|evaluate --help``."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
import cv2
import torch

from cuts3d_cli.backends import depth_embedded
from cuts3d_cli.backends.depth_embedded import DepthHead, EmbeddedDepth, fingerprint, read_head, write_head
from cuts3d_cli.backends.torch_tools import resolve_device
from cuts3d_cli.errors import Cuts3dError

from . import evaluate as scores
from .readers import Pair, pairs_of
from .tokens import TokenCache
from .train import Recipe, Samples, start_linear
from .train import train as train_head

VERSION = "1"

shared = [
    click.option("--backbone", required=True, help="DINOv2 ViT-S/14 in timm's layout (.safetensors)"),
    click.option("--cache", type=click.Path(path_type=Path), required=True, help="folder for the backbone's tokens"),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N"),
    click.option("--threads", default=0, help="threads on the CPU; 0: as many as torch takes"),
    click.option("--test", "tests", multiple=True, help="NAME=FOLDER to evaluate on, once for each"),
    click.option("--part", default="held", show_default=True, type=click.Choice(["held", "test"]), help="part of it"),
]


def _with(options):
    def wrap(function):
        for option in reversed(options):
            function = option(function)
        return function

    return wrap


@click.group()
def main() -> None:
    """Train and evaluate the embedded depth model."""


@main.command()
@click.option("--data", multiple=True, required=True, help="NAME=FOLDER[:EVERY] to train on, once for each")
@click.option("--flip", multiple=True, help="NAME of a reader whose images are taken mirrored too")
@click.option("--out", type=click.Path(path_type=Path), default=depth_embedded.WEIGHTS, show_default=True)
@click.option("--start", type=click.Path(path_type=Path), help="head to go on from instead of the linear start")
@click.option("--steps", default=Recipe().steps, show_default=True)
@click.option("--rate", default=Recipe().rate, show_default=True, help="highest learning rate")
@click.option("--gradient", default=Recipe().gradient, show_default=True, help="weight of the gradient terms")
@click.option("--balance", default=Recipe().balance, show_default=True, help="power of a dataset's size in its share")
@click.option("--crop", default=Recipe().crop, show_default=True, help="share of batches cut to a part of the grid")
@click.option("--fine", default=Recipe().fine, show_default=True, help="share of batches that train the upsampling")
@click.option("--seed", default=0, show_default=True)
@_with(shared)
def train(data, flip, out, start, tests, part, backbone, cache, device, threads, **options) -> None:
    """Train the head and write its weights."""
    place, model, tokens = _prepared(backbone, cache, device, threads)
    sources = [pairs_of(source, "train") for source in data]
    samples = Samples(sources, [source.partition("=")[0] in flip for source in data], tokens)
    names = ", ".join(f"{source.partition('=')[0]} {len(pairs)}" for source, pairs in zip(data, sources, strict=True))
    click.echo(f"{len(samples.samples)} samples: {names}")
    recipe = Recipe(**options)
    torch.manual_seed(recipe.seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    began = time.monotonic()
    if start is None:
        head, before = DepthHead(), "linear"
        start_linear(head, samples, recipe.seed)
    else:
        head, before = read_head(start)[0], read_head(start)[1].get("recipe", "")
    head = train_head(samples, recipe, head, place, click.echo)
    click.echo(f"trained in {time.monotonic() - began:.0f} s")
    notes = {
        "version": VERSION,
        "backbone": fingerprint(model),
        "recipe": json.dumps(recipe._asdict()),
        "start": before,
        "data": names,
        "flip": ", ".join(flip),
    }
    write_head(out, head, notes)
    click.echo(f"wrote {out} ({out.stat().st_size / 1e6:.2f} MB)")
    _report(EmbeddedDepth(model, read_head(out)[0], "", place), tokens, tests, part)


@main.command()
@click.option("--head", type=click.Path(path_type=Path), default=depth_embedded.WEIGHTS, show_default=True)
@_with(shared)
def evaluate(head, backbone, cache, device, threads, tests, part) -> None:
    """Score a head's weights."""
    place, model, tokens = _prepared(backbone, cache, device, threads)
    _report(EmbeddedDepth(model, read_head(head)[0], "", place), tokens, tests, part)


def _prepared(backbone: str, cache: Path, device: str, threads: int):
    if threads:
        torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    place = resolve_device(device)
    model = depth_embedded.load_backbone(backbone).to(place)
    return place, model, TokenCache(cache, model, fingerprint(model))


def _report(depth: EmbeddedDepth, tokens: TokenCache, tests: tuple[str, ...], part: str) -> None:
    def embedded(pair: Pair):
        rgb = pair.rgb()
        return depth.from_tokens(torch.from_numpy(tokens.get(pair.key, rgb)), rgb)

    for source in tests:
        name = source.partition("=")[0]
        pairs = pairs_of(source, part)
        rows = {"embedded": embedded, "constant": scores.constant, "vertical gradient": scores.vertical}
        if name.startswith("nyu"):
            for row, predict in rows.items():
                found = scores.mean_scores(pairs, predict)
                click.echo(
                    f"{name} {part} ({len(pairs)}) {row:18}: AbsRel {found.abs_rel:.3f}  "
                    f"delta1 {found.delta1:.3f}  RMSE {found.rmse:.3f} m"
                )
        for row, predict in {**rows, "brightness": scores.brightness}.items():
            edges = scores.mean_edge_scores(pairs, predict)
            shares = (
                f"edges within 8 px: met {edges.recall:.3f}, right {edges.precision:.3f}; "
                f"within 3 px: met {edges.sharp_recall:.3f}, right {edges.sharp_precision:.3f}"
            )
            click.echo(f"{name} {part} ({len(pairs)}) {row:18}: {shares}")


if __name__ == "__main__":
    try:
        main(standalone_mode=True)
    except Cuts3dError as error:
        raise SystemExit(f"error: {error}") from None
