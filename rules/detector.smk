# Training, rounds of self-training and predictions. An interrupted training resumes from <round>/work. The outputs of a
# training stay in place when it is run again: it ends at once where they are those of the same masks and settings.

DETECTOR_OUTPUTS = training.OUTPUTS
ROUND_OUTPUTS = [*DETECTOR_OUTPUTS, "annotations.json"]


rule train:
    input:
        masks=masks_to_learn,
        init=INIT,
    output:
        update(expand(f"{RUN}/detector/round0/{{name}}", name=DETECTOR_OUTPUTS)),
    log:
        f"{RUN}/logs/detector/round0.log",
    benchmark:
        f"{RUN}/benchmarks/detector/round0.tsv"
    conda:
        "../envs/detector.yaml"
    threads: 8
    resources:
        mem_mb=8000,
        runtime=2880,
    params:
        config=settings_path,
        out=lambda wc, output: Path(output[0]).parent,
        depends=lambda wc: training.dependencies(CONFIG.train, CONFIG.seed),
        overrides="",
    message:
        "training the detector"
    shell:
        "cuts3d train --config {params.config:q} --annotations {input.masks:q} --out {params.out:q} {params.overrides} > {log:q} 2>&1"


rule selftrain:
    input:
        masks=lambda wc: labels_of(previous_round(wc)),
        checkpoint=lambda wc: f"{RUN}/detector/round{previous_round(wc)}/checkpoint.pth",
    output:
        update(
            expand(f"{RUN}/detector/round{{{{round}}}}/{{name}}", name=ROUND_OUTPUTS)
        ),
    log:
        f"{RUN}/logs/detector/round{{round}}.log",
    benchmark:
        f"{RUN}/benchmarks/detector/round{{round}}.tsv"
    conda:
        "../envs/detector.yaml"
    threads: 8
    resources:
        mem_mb=8000,
        runtime=2880,
    params:
        config=settings_path,
        out=lambda wc, output: Path(output[0]).parent,
        depends=lambda wc: rounds.dependencies(
            CONFIG.selftrain, CONFIG.train, CONFIG.seed, int(wc.round)
        ),
        overrides="",
    message:
        "self-training, round {wildcards.round}"
    shell:
        "cuts3d selftrain --config {params.config:q} --round {wildcards.round} --annotations {input.masks:q}"
        " --checkpoint {input.checkpoint:q} --out {params.out:q} {params.overrides} > {log:q} 2>&1"


rule predict:
    input:
        checkpoint=f"{RUN}/detector/round{{anyround}}/checkpoint.pth",
        manifest=f"{VAL}/manifest.jsonl",
        again=lambda wc: tell_changed(
            "predict", predictions_path(RUN, int(wc.anyround)), VAL
        ),
    output:
        update(f"{RUN}/detector/round{{anyround}}/predictions_val.json"),
    log:
        f"{RUN}/logs/detector/predict{{anyround}}.log",
    benchmark:
        f"{RUN}/benchmarks/detector/predict{{anyround}}.tsv"
    conda:
        "../envs/detector.yaml"
    threads: 8
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        config=settings_path,
        run=lambda wc, input: Path(input.manifest).parent,
        depends=CONFIG.predict.model_dump(mode="json"),
    message:
        "detections of round {wildcards.anyround}"
    shell:
        "cuts3d predict --config {params.config:q} --run {params.run:q} --checkpoint {input.checkpoint:q} --out {output:q}"
        " > {log:q} 2>&1"


# In-domain self-training (Sec. 4.3), on request only: snakemake in_domain, with selftrain.target_images set.


rule selftrain_target:
    input:
        checkpoint=f"{RUN}/detector/round{ROUNDS}/checkpoint.pth",
    output:
        update(expand(f"{RUN}/detector/in-domain/{{name}}", name=ROUND_OUTPUTS)),
    log:
        f"{RUN}/logs/detector/in-domain.log",
    benchmark:
        f"{RUN}/benchmarks/detector/in-domain.tsv"
    conda:
        "../envs/detector.yaml"
    threads: 8
    resources:
        mem_mb=8000,
        runtime=2880,
    params:
        config=settings_path,
        out=lambda wc, output: Path(output[0]).parent,
        depends={
            "images": CONFIG.selftrain.target_images,
            **rounds.dependencies(
                rounds.target_config(CONFIG.selftrain), CONFIG.train, CONFIG.seed, 1
            ),
        },
    message:
        "self-training on the target images"
    shell:
        "cuts3d selftrain --config {params.config:q} --checkpoint {input.checkpoint:q} --out {params.out:q}"
        " > {log:q} 2>&1"


use rule predict as predict_target with:
    input:
        checkpoint=f"{RUN}/detector/in-domain/checkpoint.pth",
        manifest=f"{VAL}/manifest.jsonl",
    output:
        update(f"{RUN}/detector/in-domain/predictions_val.json"),
    log:
        f"{RUN}/logs/detector/predict-in-domain.log",
    benchmark:
        f"{RUN}/benchmarks/detector/predict-in-domain.tsv"
    message:
        "detections after in-domain self-training"
