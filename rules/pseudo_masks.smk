# One rule per stage; each job processes one shard. The inputs of a stage and the settings it depends on are declared in
# cuts3d_cli/pipeline/declarations.py; the methods are listed in cuts3d_cli/pipeline/methods.py.
# Results are updated, not made from nothing: what an earlier one has is kept, all of it where too many images fail.


rule depth:
    input:
        inputs_of_stage("depth"),
    output:
        update(directory("{base}/depth/{shard}.zarr")),
    log:
        "{base}/logs/depth/{shard}.log",
    benchmark:
        "{base}/benchmarks/depth/{shard}.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        config=settings_path,
        shard=shard_number,
        depends=depends_on("depth"),
        maps=lambda wc: DEPTH_MAPS[wc.base].current(shard_number(wc)),
    message:
        "depth of shard {wildcards.shard} of {wildcards.base}"
    shell:
        "cuts3d depth --config {params.config:q} --run {wildcards.base:q} --shard {params.shard} > {log:q} 2>&1"


rule features:
    input:
        inputs_of_stage("features"),
    output:
        update(directory("{base}/features/{shard}.zarr")),
    log:
        "{base}/logs/features/{shard}.log",
    benchmark:
        "{base}/benchmarks/features/{shard}.tsv"
    conda:
        "../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=120,
    params:
        config=settings_path,
        shard=shard_number,
        depends=depends_on("features"),
        weights=lambda wc: feature_weights(),
    message:
        "features of shard {wildcards.shard} of {wildcards.base}"
    shell:
        "cuts3d features --config {params.config:q} --run {wildcards.base:q} --shard {params.shard} > {log:q} 2>&1"


rule spatial_importance:
    input:
        inputs_of_stage("spatial-importance"),
    output:
        update(directory("{base}/spatial-importance/{shard}.zarr")),
    log:
        "{base}/logs/spatial-importance/{shard}.log",
    benchmark:
        "{base}/benchmarks/spatial-importance/{shard}.tsv"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        config=settings_path,
        shard=shard_number,
        depends=depends_on("spatial-importance"),
    message:
        "Spatial Importance of shard {wildcards.shard} of {wildcards.base}"
    shell:
        "cuts3d spatial-importance --config {params.config:q} --run {wildcards.base:q} --shard {params.shard} > {log:q} 2>&1"


rule localcut:
    input:
        inputs_of_stage("localcut"),
    output:
        update(directory("{base}/masks/{method}/localcut/{shard}.zarr")),
    log:
        "{base}/logs/{method}/localcut/{shard}.log",
    benchmark:
        "{base}/benchmarks/{method}/localcut/{shard}.tsv"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=1200,
        runtime=120,
    params:
        config=settings_path,
        shard=shard_number,
        depends=depends_on("localcut"),
    message:
        "{wildcards.method}: instances of shard {wildcards.shard} of {wildcards.base}"
    shell:
        "cuts3d localcut --config {params.config:q} --run {wildcards.base:q} --shard {params.shard}"
        " --method {wildcards.method} > {log:q} 2>&1"


rule confidence:
    input:
        inputs_of_stage("confidence"),
    output:
        update(directory("{base}/masks/{method}/confidence/{shard}.zarr")),
    log:
        "{base}/logs/{method}/confidence/{shard}.log",
    benchmark:
        "{base}/benchmarks/{method}/confidence/{shard}.tsv"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        config=settings_path,
        shard=shard_number,
        depends=depends_on("confidence"),
    message:
        "{wildcards.method}: Spatial Confidence of shard {wildcards.shard} of {wildcards.base}"
    shell:
        "cuts3d confidence --config {params.config:q} --run {wildcards.base:q} --shard {params.shard}"
        " --method {wildcards.method} > {log:q} 2>&1"


rule crf:
    input:
        inputs_of_stage("crf"),
    output:
        update("{base}/masks/{method}/crf/{shard}.json"),
    log:
        "{base}/logs/{method}/crf/{shard}.log",
    benchmark:
        "{base}/benchmarks/{method}/crf/{shard}.tsv"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=1200,
        runtime=240,
    params:
        config=settings_path,
        shard=shard_number,
        depends=depends_on("crf"),
    message:
        "{wildcards.method}: masks of shard {wildcards.shard} of {wildcards.base}"
    shell:
        "cuts3d crf --config {params.config:q} --run {wildcards.base:q} --shard {params.shard}"
        " --method {wildcards.method} > {log:q} 2>&1"


rule merge:
    input:
        masks=lambda wc: [
            result_path(wc.base, LAST, shard, wc.method) for shard in shards(wc.base)
        ],
        manifest="{base}/manifest.jsonl",
    output:
        update("{base}/masks/{method}/pseudo_masks.json"),
    log:
        "{base}/logs/{method}/merge.log",
    benchmark:
        "{base}/benchmarks/{method}/merge.tsv"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        config=settings_path,
    message:
        "{wildcards.method}: joining the masks of {wildcards.base}"
    shell:
        "cuts3d merge --config {params.config:q} --run {wildcards.base:q} --method {wildcards.method} > {log:q} 2>&1"
