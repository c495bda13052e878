# Evaluation and the report. Only these rules read ground truth.


EVALUATIONS = evaluations(CONFIG, METHODS)
EVALUATION_FILES = [
    f"{RUN}/evaluation/{name}.json" for name in evaluations(CONFIG, methods_of(CONFIG))
]

# Made without labels too, for the report's pictures.
DETECTIONS = [
    f"{RUN}/detector/round{number}/predictions_val.json"
    for number in predicting(CONFIG)
]


rule evaluate:
    input:
        masks=lambda wc: EVALUATIONS[wc.name].masks,
        # whether they are others is said by their names, sizes and times, a parameter
        truth=lambda wc: ancient(EVALUATIONS[wc.name].labels),
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
        config=settings_path,
        depends=lambda wc: scored_against(EVALUATIONS[wc.name].labels),
        overrides="",
    message:
        "evaluating {wildcards.name}"
    shell:
        "cuts3d evaluate --config {params.config:q} --predictions {input.masks:q} --annotations {input.truth:q} --out {output:q}"
        " {params.overrides}"
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
    params:
        config=settings_path,
        depends=lambda wc: scored_against(data_of(VAL, "annotations")),
        overrides="",
    message:
        "evaluating the detector trained on the target images"


rule report:
    input:
        evaluations=EVALUATION_FILES,
        masks=[masks_of(OWN, base) for base in BASES],
        detectors=expand(
            f"{RUN}/detector/round{{number}}/metrics.jsonl", number=TRAININGS
        ),
        detections=DETECTIONS,
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
        config=settings_path,
        run=lambda wc, output: Path(output.html).parent,
        evaluations=lambda wc, input: [
            f"--evaluation={path}" for path in input.evaluations
        ],
        depends={"record": REPORT_RECORD, **CONFIG.model_dump(mode="json")},
    message:
        "writing the report"
    shell:
        "cuts3d report --config {params.config:q} --run {params.run:q} {params.evaluations:q} > {log:q} 2>&1"
