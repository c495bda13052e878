# Scores and the report. Only these rules read ground truth.


def evaluations():
    """Names of the evaluations and the masks they score: <method>_<split>."""
    bases = [(RUN, "train"), (VAL, "val")] if HAS_VAL else [(RUN, "train")]
    scored = {}
    for base, split in bases:
        if data_of(base, "annotations") is None:
            continue
        if HAS_BASELINE:
            scored[f"{BASELINE}_{split}"] = f"{base}/{BASELINE}/pseudo_masks.json"
        scored[f"cuts3d_{split}"] = f"{base}/pseudo_masks.json"
    if HAS_VAL and CONFIG.data.val_annotations is not None:
        for number in range(ROUNDS + 1):
            scored[f"round{number}_val"] = f"{RUN}/detector/round{number}/predictions_val.json"
    return scored


EVALUATIONS = evaluations()
EVALUATION_FILES = [f"{RUN}/evaluation/{name}.json" for name in EVALUATIONS]


rule evaluate:
    input:
        masks=lambda wc: EVALUATIONS[wc.name],
        truth=lambda wc: data_of(VAL if wc.name.endswith("_val") else RUN, "annotations"),
    output:
        f"{RUN}/evaluation/{{name}}.json",
    params:
        flags=flags(CONFIG.evaluate),
        version=VERSION,
    wildcard_constraints:
        name="|".join(EVALUATIONS) or "none",
    log:
        f"{RUN}/logs/evaluation/{{name}}.log",
    benchmark:
        f"{RUN}/benchmarks/evaluation/{{name}}.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    conda:
        "../envs/core.yaml"
    message:
        "scoring {wildcards.name}"
    shell:
        "cuts3d evaluate --predictions {input.masks:q} --annotations {input.truth:q} --out {output:q} {params.flags}"
        " > {log} 2>&1"


rule report:
    input:
        evaluations=EVALUATION_FILES,
        masks=expand("{base}/pseudo_masks.json", base=BASES),
        detectors=expand(f"{RUN}/detector/round{{number}}/metrics.jsonl", number=range(ROUNDS + 1)),
    output:
        html=f"{RUN}/report.html",
        results=f"{RUN}/results.json",
        table=f"{RUN}/results.txt",
    params:
        settings=CONFIG.model_dump_json(exclude_unset=True),
        version=VERSION,
    log:
        f"{RUN}/logs/report.log",
    benchmark:
        f"{RUN}/benchmarks/report.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    conda:
        "../envs/core.yaml"
    message:
        "writing the report"
    shell:
        "cuts3d report --run {RUN:q} --settings {params.settings:q} > {log} 2>&1"
