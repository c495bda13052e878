# Fine-tuning on labels with classes (CutLER), on request only: snakemake finetuned. The settings of each training are in
# cuts3d_cli/experiments/finetune.py. These rules read human labels; no earlier rule does.

FINETUNE = f"{RUN}/{ft.FOLDER}"
FINETUNED = f"{FINETUNE}/{{start}}/{{fraction}}"
FRACTIONS = [ft.fraction_name(fraction) for fraction in CONFIG.finetune.fractions]


wildcard_constraints:
    start="|".join(ft.STARTS),
    fraction="|".join(re.escape(name) for name in FRACTIONS),


rule finetune:
    input:
        labels=lambda wc: finetune_source(wc)[0],
        start=finetune_start,
    output:
        update([f"{FINETUNED}/{name}" for name in DETECTOR_OUTPUTS]),
    log:
        f"{RUN}/logs/{ft.FOLDER}/{{start}}_{{fraction}}.log",
    benchmark:
        f"{RUN}/benchmarks/{ft.FOLDER}/{{start}}_{{fraction}}.tsv"
    conda:
        "../envs/detector.yaml"
    threads: 8
    resources:
        mem_mb=8000,
        runtime=2880,
    params:
        config=settings_path,
        out=lambda wc, output: Path(output[0]).parent,
        depends={"algorithm": training.ALGORITHM, "seed": CONFIG.seed},
        overrides=finetune_overrides,
    message:
        "training on {wildcards.fraction} of the labels, start: {wildcards.start}"
    shell:
        "cuts3d train --config {params.config:q} --labels {input.labels:q} --out {params.out:q} {params.overrides} > {log:q} 2>&1"


use rule predict as predict_finetuned with:
    input:
        checkpoint=f"{FINETUNED}/checkpoint.pth",
        manifest=f"{VAL}/manifest.jsonl",
    output:
        f"{FINETUNED}/predictions_val.json",
    log:
        f"{RUN}/logs/{ft.FOLDER}/predict_{{start}}_{{fraction}}.log",
    benchmark:
        f"{RUN}/benchmarks/{ft.FOLDER}/predict_{{start}}_{{fraction}}.tsv"
    message:
        "detections after {wildcards.fraction} of the labels, start: {wildcards.start}"


use rule evaluate as evaluate_finetuned with:
    input:
        masks=f"{FINETUNED}/predictions_val.json",
        truth=data_of(VAL, "annotations") or [],
    output:
        f"{FINETUNED}/scores_val.json",
    log:
        f"{RUN}/logs/{ft.FOLDER}/evaluate_{{start}}_{{fraction}}.log",
    benchmark:
        f"{RUN}/benchmarks/{ft.FOLDER}/evaluate_{{start}}_{{fraction}}.tsv"
    params:
        config=settings_path,
        depends=lambda wc: scored_against(data_of(VAL, "annotations")),
        overrides="--no-class-agnostic",
    message:
        "evaluating {wildcards.fraction} of the labels, start: {wildcards.start}"


rule finetuned:
    input:
        expand(f"{FINETUNED}/scores_val.json", start=ft.STARTS, fraction=FRACTIONS),
    output:
        f"{FINETUNE}/scores.txt",
    log:
        f"{RUN}/logs/{ft.FOLDER}/scores.log",
    params:
        section=CONFIG.finetune.model_dump_json(),
    run:
        text = ft.table(RUN, CONFIG)
        Path(output[0]).write_text(text + "\n")
        print(text)


localrules:
    finetuned,
