# The ablations of the paper's Tables 4 to 6, on request only: snakemake table4 | table5 | table6 | results.
# The trainings of each table are defined in cuts3d_cli/experiments/ablations.py; all results are in <run>/experiments.
# The rules are those of the run with other settings, on one core each, so that trainings run in parallel.

EXPERIMENTS = f"{RUN}/{ex.FOLDER}"
EXPERIMENT_LOGS = f"{RUN}/logs/{ex.FOLDER}"
EXPERIMENT_TIMES = f"{RUN}/benchmarks/{ex.FOLDER}"


wildcard_constraints:
    variant="|".join(ex.VARIANTS),
    seed=r"\d+",
    table="table4|table5|table6|results",


use rule train as train_experiment with:
    input:
        masks=lambda wc: masks_of(ex.VARIANTS[wc.variant].masks),
        init=INIT,
    output:
        update([f"{EXPERIMENT}/round0/{name}" for name in DETECTOR_OUTPUTS]),
    log:
        f"{EXPERIMENT_LOGS}/{{variant}}/seed{{seed}}/round0.log",
    benchmark:
        f"{EXPERIMENT_TIMES}/{{variant}}/seed{{seed}}/round0.tsv"
    wildcard_constraints:
        variant="|".join(name for name in ex.VARIANTS if name != ex.FULL),
    threads: 1
    params:
        config=settings_path,
        out=lambda wc, output: Path(output[0]).parent,
        depends=lambda wc: {
            "algorithm": training.ALGORITHM,
            "weights": initial_weights(),
        },
        overrides=lambda wc: f"--seed {wc.seed} {settings('train', ex.train_section(CONFIG, wc.variant))}",
    message:
        "training {wildcards.variant}, seed {wildcards.seed}"


# The rounds are the critical path to the tables, so they and the training before them run first.
use rule train_experiment as train_experiment_full with:
    wildcard_constraints:
        variant=ex.FULL,
    priority: 10


use rule selftrain as selftrain_experiment with:
    input:
        masks=experiment_labels,
        checkpoint=lambda wc: f"{EXPERIMENT}/round{previous_round(wc)}/checkpoint.pth",
    output:
        update([f"{EXPERIMENT}/round{{round}}/{name}" for name in ROUND_OUTPUTS]),
    log:
        f"{EXPERIMENT_LOGS}/{{variant}}/seed{{seed}}/round{{round}}.log",
    benchmark:
        f"{EXPERIMENT_TIMES}/{{variant}}/seed{{seed}}/round{{round}}.tsv"
    priority: 10
    threads: 1
    params:
        config=settings_path,
        out=lambda wc, output: Path(output[0]).parent,
        depends=training.ALGORITHM,
        overrides=lambda wc: " ".join(
            [
                f"--seed {wc.seed}",
                settings("train", ex.train_section(CONFIG, wc.variant)),
                settings("selftrain", ex.selftrain_section(CONFIG)),
            ]
        ),
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
    params:
        config=settings_path,
        depends=lambda wc: scored_against(data_of(VAL, "annotations")),
        overrides="",
    message:
        "evaluating {wildcards.variant}, seed {wildcards.seed}, round {wildcards.anyround}"


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
        config=settings_path,
        run=lambda wc, output: Path(output.text).parents[1],
        depends=CONFIG.model_dump(mode="json"),
    message:
        "writing {output.text}"
    shell:
        "cuts3d compare --config {params.config:q} --run {params.run:q} --table {wildcards.table} --out {output.text:q}"
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
