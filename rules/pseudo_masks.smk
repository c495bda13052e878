# One rule per command; each works on one shard. The baseline's rules differ in inputs and settings only.


rule depth:
    input:
        "{base}/manifest.jsonl",
    output:
        directory("{base}/depth/{shard}.zarr"),
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
        shard=shard_number,
        maps=depth_map_flag,
        flags=flags(CONFIG.depth),
        common=f"{COMMON} --device {CONFIG.device}",
        version=VERSION,
    message:
        "depth of shard {wildcards.shard} of {wildcards.base}"
    shell:
        "cuts3d depth --run {wildcards.base:q} --shard {params.shard} {params.maps} {params.flags} {params.common}"
        " > {log:q} 2>&1"


rule features:
    input:
        features_inputs,
        "{base}/manifest.jsonl",
    output:
        directory("{base}/features/{shard}.zarr"),
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
        shard=shard_number,
        flags=flags(CONFIG.features),
        common=f"{COMMON} --device {CONFIG.device}",
        version=VERSION,
    message:
        "features of shard {wildcards.shard} of {wildcards.base}"
    shell:
        "cuts3d features --run {wildcards.base:q} --shard {params.shard} {params.flags} {params.common} > {log:q} 2>&1"


rule spatial_importance:
    input:
        "{base}/depth/{shard}.zarr",
        "{base}/manifest.jsonl",
    output:
        directory("{base}/spatial-importance/{shard}.zarr"),
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
        shard=shard_number,
        flags=flags(CONFIG.spatial_importance),
        grid=GRID,
        common=COMMON,
        version=VERSION,
    message:
        "Spatial Importance of shard {wildcards.shard} of {wildcards.base}"
    shell:
        "cuts3d spatial-importance --run {wildcards.base:q} --shard {params.shard} {params.flags} {params.grid}"
        " {params.common} > {log:q} 2>&1"


rule localcut:
    input:
        localcut_inputs,
        "{base}/manifest.jsonl",
    output:
        directory("{base}/localcut/{shard}.zarr"),
    log:
        "{base}/logs/localcut/{shard}.log",
    benchmark:
        "{base}/benchmarks/localcut/{shard}.tsv"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=1200,
        runtime=120,
    params:
        shard=shard_number,
        branch="",
        flags=flags(CONFIG.localcut),
        common=f"{COMMON} --device {CONFIG.device}",
        version=VERSION,
    message:
        "instances of shard {wildcards.shard} of {wildcards.base}"
    shell:
        "cuts3d localcut --run {wildcards.base:q} --shard {params.shard} {params.branch} {params.flags} {params.common}"
        " > {log:q} 2>&1"


rule confidence:
    input:
        "{base}/localcut/{shard}.zarr",
        "{base}/manifest.jsonl",
    output:
        directory("{base}/confidence/{shard}.zarr"),
    log:
        "{base}/logs/confidence/{shard}.log",
    benchmark:
        "{base}/benchmarks/confidence/{shard}.tsv"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        shard=shard_number,
        flags=flags(CONFIG.confidence),
        common=COMMON,
        version=VERSION,
    message:
        "Spatial Confidence of shard {wildcards.shard} of {wildcards.base}"
    shell:
        "cuts3d confidence --run {wildcards.base:q} --shard {params.shard} {params.flags} {params.common} > {log:q} 2>&1"


rule crf:
    input:
        crf_inputs,
        "{base}/manifest.jsonl",
    output:
        "{base}/crf/{shard}.json",
    log:
        "{base}/logs/crf/{shard}.log",
    benchmark:
        "{base}/benchmarks/crf/{shard}.tsv"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=1200,
        runtime=240,
    params:
        shard=shard_number,
        branch="",
        local_cut=f"--set localcut.local_cut={str(LOCAL_CUT).lower()}",
        flags=crf_flags(CONFIG.crf, CONFIG.confidence),
        common=COMMON,
        version=VERSION,
    message:
        "masks of shard {wildcards.shard} of {wildcards.base}"
    shell:
        "cuts3d crf --run {wildcards.base:q} --shard {params.shard} {params.branch} {params.local_cut} {params.flags}"
        " {params.common} > {log:q} 2>&1"


rule merge:
    input:
        lambda wc: expand(
            "{base}/crf/{shard}.json", base=wc.base, shard=shards(wc.base)
        ),
        "{base}/manifest.jsonl",
    output:
        "{base}/pseudo_masks.json",
    log:
        "{base}/logs/merge.log",
    benchmark:
        "{base}/benchmarks/merge.tsv"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        branch="",
        version=VERSION,
    message:
        "joining the masks of {wildcards.base}"
    shell:
        "cuts3d merge --run {wildcards.base:q} {params.branch} > {log:q} 2>&1"


use rule localcut as localcut_baseline with:
    input:
        "{base}/features/{shard}.zarr",
        "{base}/manifest.jsonl",
    output:
        directory(f"{{base}}/{BASELINE}/localcut/{{shard}}.zarr"),
    log:
        f"{{base}}/logs/{BASELINE}/localcut/{{shard}}.log",
    benchmark:
        f"{{base}}/benchmarks/{BASELINE}/localcut/{{shard}}.tsv"
    params:
        shard=shard_number,
        branch=f"--branch {BASELINE}",
        flags=flags(BASELINE_LOCALCUT),
        common=f"{COMMON} --device {CONFIG.device}",
        version=VERSION,
    message:
        "MaskCut of shard {wildcards.shard} of {wildcards.base}"


use rule crf as crf_baseline with:
    input:
        f"{{base}}/{BASELINE}/localcut/{{shard}}.zarr",
        "{base}/manifest.jsonl",
    output:
        f"{{base}}/{BASELINE}/crf/{{shard}}.json",
    log:
        f"{{base}}/logs/{BASELINE}/crf/{{shard}}.log",
    benchmark:
        f"{{base}}/benchmarks/{BASELINE}/crf/{{shard}}.tsv"
    params:
        shard=shard_number,
        branch=f"--branch {BASELINE}",
        local_cut="--set localcut.local_cut=false",
        flags=flags(baseline_crf(CONFIG)),
        common=COMMON,
        version=VERSION,
    message:
        "MaskCut masks of shard {wildcards.shard} of {wildcards.base}"


use rule merge as merge_baseline with:
    input:
        lambda wc: expand(
            "{base}/{branch}/crf/{shard}.json",
            base=wc.base,
            branch=BASELINE,
            shard=shards(wc.base),
        ),
        "{base}/manifest.jsonl",
    output:
        f"{{base}}/{BASELINE}/pseudo_masks.json",
    log:
        f"{{base}}/logs/{BASELINE}/merge.log",
    benchmark:
        f"{{base}}/benchmarks/{BASELINE}/merge.tsv"
    params:
        branch=f"--branch {BASELINE}",
        version=VERSION,
    message:
        "joining the MaskCut masks of {wildcards.base}"
