rule prepare:
    input:
        lambda wc: tell_unreadable_list(wc.base),
    output:
        # in place: of a folder that has a list already only new and changed images are read
        update("{base}/manifest.jsonl"),
    log:
        "{base}/logs/prepare.log",
    benchmark:
        "{base}/benchmarks/prepare.tsv"
    conda:
        "../envs/core.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        images=lambda wc: data_of(wc.base, "images"),
        n_shards=lambda wc: len(shards(wc.base)),
        listing=lambda wc: current_listing(
            Path(data_of(wc.base, "images")), Path(wc.base)
        ),
    message:
        "listing the images of {params.images}"
    shell:
        "cuts3d prepare {params.images:q} --run {wildcards.base:q} --n-shards {params.n_shards} > {log:q} 2>&1"
