"""Command line: ``python -m scripts.make_sample --split train --count 72``."""

import argparse
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from . import dataset, sheet


def parse(argv=None):
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.make_sample",
        description="Render the sample dataset. Scenes that are there are skipped.",
    )
    parser.add_argument("--out", type=Path, default=Path("sample"), help="folder of the dataset (default: %(default)s)")
    parser.add_argument(
        "--split",
        choices=("train", "val"),
        required=True,
        help="train and val share no mesh, texture family or backdrop",
    )
    parser.add_argument("--count", type=int, default=None, help="scenes 1..COUNT (default: 72 for train, 24 for val)")
    parser.add_argument("--seed", type=int, default=2025, help="seed of the dataset (default: %(default)s)")
    parser.add_argument("--spp", type=int, default=16, help="paths per pixel before denoising (default: %(default)s)")
    parser.add_argument(
        "--jobs", type=int, default=1, help="processes; Mitsuba itself uses all cores (default: %(default)s)"
    )
    parser.add_argument("--redo", type=int, nargs="*", default=[], metavar="N", help="render these scenes again")
    parser.add_argument("--sheet", type=Path, help="only write a contact sheet of the split to this PNG")
    parser.add_argument(
        "--sheet-range", type=int, nargs=2, metavar=("FIRST", "LAST"), help="scenes on the sheet (default: all)"
    )
    options = parser.parse_args(argv)
    if options.count is None:
        options.count = 72 if options.split == "train" else 24
    return options


def main(argv=None):
    """Renders what is missing, saving annotations.json after every scene. Returns the exit code."""
    options = parse(argv)
    folder = options.out / options.split
    records = dataset.load_records(folder)
    if options.sheet and not records:
        sys.exit(f"no scene in {folder}: render some first")
    if options.sheet:
        first, last = options.sheet_range or (1, max(records))
        sheet.write_sheet(options.sheet, folder, [records[k] for k in sorted(records) if first <= k <= last])
        return 0
    todo = [n for n in range(1, options.count + 1) if n not in records or n in options.redo]
    print(f"{options.split}: {len(records)} scenes there, {len(todo)} to render", flush=True)
    failed = 0
    start = time.monotonic()
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        jobs = {pool.submit(dataset.make_scene, folder, options.split, n, options.seed, options.spp): n for n in todo}
        for done, job in enumerate(as_completed(jobs), 1):
            number = jobs[job]
            try:
                records[number] = job.result()
            except dataset.NoScene as error:
                failed += 1
                print(f"scene {number}: {error}", file=sys.stderr, flush=True)
                continue
            dataset.save_records(folder, options.split, options.seed, records)
            passed_s = time.monotonic() - start
            print(f"{done}/{len(todo)} scene {number}: {len(records[number][1])} objects, {passed_s:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
