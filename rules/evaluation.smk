# Scores and the report. Only these rules read ground truth.


EVALUATIONS = evaluations()
EVALUATION_FILES = [f"{RUN}/evaluation/{name}.json" for name in EVALUATIONS]


rule evaluate:
    input:
        masks=lambda wc: EVALUATIONS[wc.name],
        truth=lambda wc: data_of(
            VAL if wc.name.endswith("_val") else RUN, "annotations"
        ),
    output:
        f"{RUN}/evaluation/{{name}}.json",
    log:
        f"{RUN}/logs/evaluation/{{name}}.log",
    benchmark:
        f"{RUN}/benchmarks/evaluation/{{name}}.tsv"
    wildcard_constraints:
        name="|".join(EVALUATIONS) or "none",
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        flags=flags(CONFIG.evaluate),
        version=VERSION,
    message:
        "scoring {wildcards.name}"
    shell:
        "cuts3d evaluate --predictions {input.masks:q} --annotations {input.truth:q} --out {output:q} {params.flags}"
        " > {log:q} 2>&1"


use rule evaluate as evaluate_target with:
    input:
        masks=f"{RUN}/detector/in-domain/predictions_val.json",
        truth=data_of(VAL, "annotations") or [],
    output:
        f"{RUN}/detector/in-domain/scores_val.json",
    log:
        f"{RUN}/logs/evaluation/in-domain.log",
    benchmark:
        f"{RUN}/benchmarks/evaluation/in-domain.tsv"
    message:
        "scoring the detector of the target images"


rule report:
    input:
        evaluations=EVALUATION_FILES,
        masks=expand("{base}/pseudo_masks.json", base=BASES),
        detectors=expand(
            f"{RUN}/detector/round{{number}}/metrics.jsonl", number=TRAININGS
        ),
    output:
        html=f"{RUN}/report.html",
        results=f"{RUN}/results.json",
        table=f"{RUN}/results.txt",
    log:
        f"{RUN}/logs/report.log",
    benchmark:
        f"{RUN}/benchmarks/report.tsv"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        run=lambda wc, output: Path(output.html).parent,
        evaluations=lambda wc, input: [
            f"--evaluation={path}" for path in input.evaluations
        ],
        settings=CONFIG.model_dump_json(exclude_unset=True),
        version=VERSION,
    message:
        "writing the report"
    shell:
        "cuts3d report --run {params.run:q} {params.evaluations:q} --settings {params.settings:q} > {log:q} 2>&1"
