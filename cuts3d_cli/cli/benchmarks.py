"""``cuts3d benchmarks``."""

from pathlib import Path

import click


@click.command("benchmarks")
@click.argument("name", required=False)
@click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    default=Path("datasets"),
    show_default=True,
    help="Root folder of the datasets.",
)
@click.option(
    "--write-truth",
    type=click.Path(path_type=Path),
    help="Class-agnostic COCO JSON to write the ground truth of NAME to.",
)
def command(name, data_root, write_truth):
    """List the benchmarks that `cuts3d evaluate --benchmark` knows, or show the expected folder layout of NAME.

    \b
    Examples:
      cuts3d benchmarks
      cuts3d benchmarks voc --data-root datasets/
      cuts3d benchmarks voc --data-root datasets/ --write-truth voc.json
    """
    from cuts3d_cli.evaluation import benchmarks
    from cuts3d_cli.tables import text_table

    if not name:
        if write_truth:
            raise click.UsageError("--write-truth goes with the NAME of a benchmark")
        rows = benchmarks.registry_rows()
        click.echo(text_table(list(rows[0]), [list(row.values()) for row in rows], left=None))
        return
    benchmark = benchmarks.get_benchmark(name)
    if not write_truth:
        click.echo(benchmarks.layout_text(benchmark, data_root))
        return
    from cuts3d_cli.evaluation import evaluate
    from cuts3d_cli.log import logger

    truth = evaluate.load_truth(benchmark=benchmark, root=data_root)
    for note in truth.read.notes:
        logger.warning("benchmarks: %s", note)
    evaluate.write_truth(truth, write_truth)
    n_images, n_objects = len(truth.read.document.images), len(truth.read.document.annotations)
    click.echo(f"{write_truth}: {n_images} images, {n_objects} annotations")
