# The ablations of the paper's Tables 4 to 6, made on request only: snakemake table4 | table5 | table6 | results.
# Which trainings a table needs is said in cuts3d_cli/experiments/ablations.py; everything lies in <run>/experiments.
# The rules are those of the run with other settings, on one core each, so that trainings run side by side.

EXPERIMENTS = f"{RUN}/{ex.FOLDER}"
EXPERIMENT_LOGS = f"{RUN}/logs/{ex.FOLDER}"
EXPERIMENT_TIMES = f"{RUN}/benchmarks/{ex.FOLDER}"


wildcard_constraints:
    variant="|".join(ex.VARIANTS),
    seed=r"\d+",
    table="table4|table5|table6|results",
    split="train|val",


use rule localcut as localcut_unsharpened with:
    input:
        "{base}/features/{shard}.zarr",
        "{base}/depth/{shard}.zarr",
        "{base}/manifest.jsonl",
    output:
        directory(f"{{base}}/{ex.UNSHARPENED}/localcut/{{shard}}.zarr"),
    log:
        f"{{base}}/logs/{ex.UNSHARPENED}/localcut/{{shard}}.log",
    benchmark:
        f"{{base}}/benchmarks/{ex.UNSHARPENED}/localcut/{{shard}}.tsv"
    params:
        shard=shard_number,
        branch=f"--branch {ex.UNSHARPENED}",
        flags=flags(unsharpened_localcut(CONFIG)),
        common=f"{COMMON} --device {CONFIG.device}",
        version=VERSION,
    message:
        "unsharpened instances of shard {wildcards.shard} of {wildcards.base}"


use rule confidence as confidence_unsharpened with:
    input:
        f"{{base}}/{ex.UNSHARPENED}/localcut/{{shard}}.zarr",
        "{base}/manifest.jsonl",
    output:
        directory(f"{{base}}/{ex.UNSHARPENED}/confidence/{{shard}}.zarr"),
    log:
        f"{{base}}/logs/{ex.UNSHARPENED}/confidence/{{shard}}.log",
    benchmark:
        f"{{base}}/benchmarks/{ex.UNSHARPENED}/confidence/{{shard}}.tsv"
    params:
        shard=shard_number,
        flags=flags(CONFIG.confidence),
        common=f"--branch {ex.UNSHARPENED} --set localcut.sharpen=false {COMMON}",
        version=VERSION,
    message:
        "Spatial Confidence of unsharpened shard {wildcards.shard} of {wildcards.base}"


use rule crf as crf_unsharpened with:
    input:
        f"{{base}}/{ex.UNSHARPENED}/localcut/{{shard}}.zarr",
        f"{{base}}/{ex.UNSHARPENED}/confidence/{{shard}}.zarr",
        "{base}/manifest.jsonl",
    output:
        f"{{base}}/{ex.UNSHARPENED}/crf/{{shard}}.json",
    log:
        f"{{base}}/logs/{ex.UNSHARPENED}/crf/{{shard}}.log",
    benchmark:
        f"{{base}}/benchmarks/{ex.UNSHARPENED}/crf/{{shard}}.tsv"
    params:
        shard=shard_number,
        branch=f"--branch {ex.UNSHARPENED}",
        local_cut="--set localcut.local_cut=true",
        flags=crf_flags(CONFIG.crf, CONFIG.confidence),
        common=COMMON,
        version=VERSION,
    message:
        "unsharpened masks of shard {wildcards.shard} of {wildcards.base}"


use rule merge as merge_unsharpened with:
    input:
        lambda wc: expand(
            "{base}/{branch}/crf/{shard}.json",
            base=wc.base,
            branch=ex.UNSHARPENED,
            shard=shards(wc.base),
        ),
        "{base}/manifest.jsonl",
    output:
        f"{{base}}/{ex.UNSHARPENED}/pseudo_masks.json",
    log:
        f"{{base}}/logs/{ex.UNSHARPENED}/merge.log",
    benchmark:
        f"{{base}}/benchmarks/{ex.UNSHARPENED}/merge.tsv"
    params:
        branch=f"--branch {ex.UNSHARPENED}",
        version=VERSION,
    message:
        "joining the unsharpened masks of {wildcards.base}"


use rule train as train_experiment with:
    input:
        masks=lambda wc: masks_of(ex.VARIANTS[wc.variant].masks),
        init=INIT,
    output:
        [f"{EXPERIMENT}/round0/{name}" for name in DETECTOR_OUTPUTS],
    log:
        f"{EXPERIMENT_LOGS}/{{variant}}/seed{{seed}}/round0.log",
    benchmark:
        f"{EXPERIMENT_TIMES}/{{variant}}/seed{{seed}}/round0.tsv"
    wildcard_constraints:
        variant="|".join(name for name in ex.VARIANTS if name != ex.FULL),
    threads: 1
    params:
        out=lambda wc, output: Path(output[0]).parent,
        flags=lambda wc: flags(ex.train_section(CONFIG, wc.variant)),
        common=lambda wc: f"--seed {wc.seed} --device {CONFIG.device}",
        version=VERSION,
    message:
        "training {wildcards.variant}, seed {wildcards.seed}"


# The longest way to the tables leads over the rounds, so they and the training before them go first.
use rule train_experiment as train_experiment_full with:
    wildcard_constraints:
        variant=ex.FULL,
    priority: 10


use rule selftrain as selftrain_experiment with:
    input:
        masks=experiment_labels,
        checkpoint=lambda wc: f"{EXPERIMENT}/round{previous_round(wc)}/checkpoint.pth",
    output:
        [
            f"{EXPERIMENT}/round{{round}}/{name}"
            for name in [*DETECTOR_OUTPUTS, "annotations.json"]
        ],
    log:
        f"{EXPERIMENT_LOGS}/{{variant}}/seed{{seed}}/round{{round}}.log",
    benchmark:
        f"{EXPERIMENT_TIMES}/{{variant}}/seed{{seed}}/round{{round}}.tsv"
    priority: 10
    threads: 1
    params:
        out=lambda wc, output: Path(output[0]).parent,
        flags=flags(ex.selftrain_section(CONFIG), leave_out=["rounds", *TARGET_KEYS]),
        train=lambda wc: settings("train", ex.train_section(CONFIG, wc.variant)),
        common=lambda wc: f"--seed {wc.seed} --device {CONFIG.device} {COMMON}",
        version=VERSION,
    message:
        "self-training {wildcards.variant}, seed {wildcards.seed}, round {wildcards.round}"


use rule predict as predict_experiment with:
    input:
        checkpoint=f"{EXPERIMENT}/round{{anyround}}/checkpoint.pth",
        manifest=f"{VAL}/manifest.jsonl",
    output:
        f"{EXPERIMENT}/round{{anyround}}/predictions_val.json",
    log:
        f"{EXPERIMENT_LOGS}/{{variant}}/seed{{seed}}/predict{{anyround}}.log",
    benchmark:
        f"{EXPERIMENT_TIMES}/{{variant}}/seed{{seed}}/predict{{anyround}}.tsv"
    threads: 1
    message:
        "detections of {wildcards.variant}, seed {wildcards.seed}, round {wildcards.anyround}"


use rule evaluate as evaluate_experiment with:
    input:
        masks=f"{EXPERIMENT}/round{{anyround}}/predictions_val.json",
        truth=lambda wc: data_of(VAL, "annotations"),
    output:
        f"{EXPERIMENTS}/evaluation/{{variant}}_seed{{seed}}_round{{anyround}}.json",
    log:
        f"{EXPERIMENT_LOGS}/{{variant}}/seed{{seed}}/evaluate{{anyround}}.log",
    benchmark:
        f"{EXPERIMENT_TIMES}/{{variant}}/seed{{seed}}/evaluate{{anyround}}.tsv"
    message:
        "scoring {wildcards.variant}, seed {wildcards.seed}, round {wildcards.anyround}"


use rule evaluate as evaluate_unsharpened with:
    input:
        masks=lambda wc: masks_of("localcut", RUN if wc.split == "train" else VAL),
        truth=lambda wc: data_of(RUN if wc.split == "train" else VAL, "annotations"),
    output:
        f"{EXPERIMENTS}/evaluation/localcut_{{split}}.json",
    log:
        f"{EXPERIMENT_LOGS}/evaluation/localcut_{{split}}.log",
    benchmark:
        f"{EXPERIMENT_TIMES}/evaluation/localcut_{{split}}.tsv"
    message:
        "scoring the unsharpened masks, {wildcards.split}"


rule compare:
    input:
        scores=experiment_scores,
        masks=experiment_mask_scores,
    output:
        text=f"{EXPERIMENTS}/{{table}}.md",
        numbers=f"{EXPERIMENTS}/{{table}}.json",
    log:
        f"{EXPERIMENT_LOGS}/{{table}}.log",
    benchmark:
        f"{EXPERIMENT_TIMES}/{{table}}.tsv"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        run=lambda wc, output: Path(output.text).parents[1],
        settings=CONFIG.model_dump_json(exclude_unset=True),
        version=VERSION,
    message:
        "writing {output.text}"
    shell:
        "cuts3d compare --run {params.run:q} --table {wildcards.table} --out {output.text:q} --settings {params.settings:q}"
        " > {log:q} 2>&1"


rule table4:
    input:
        f"{EXPERIMENTS}/table4.md",


rule table5:
    input:
        f"{EXPERIMENTS}/table5.md",


rule table6:
    input:
        f"{EXPERIMENTS}/table6.md",


rule results:
    input:
        f"{EXPERIMENTS}/results.md",


localrules:
    table4,
    table5,
    table6,
    results,
