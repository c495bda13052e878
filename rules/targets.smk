# Named targets.

PRODUCTS = [
    *(f"{base}/manifest.jsonl" for base in BASES),
    *(masks_of(method, base) for base in BASES for method in methods_of(CONFIG)),
    *(
        f"{RUN}/detector/round{number}/{name}"
        for number in TRAININGS
        for name in (ROUND_OUTPUTS if number else DETECTOR_OUTPUTS)
    ),
    *DETECTIONS,
    *EVALUATION_FILES,
]


rule pseudo_masks:
    input:
        [masks_of(method, base) for base in BASES for method in methods_of(CONFIG)],


rule trained:
    input:
        expand(
            f"{RUN}/detector/round{{number}}/checkpoint.pth", number=range(ROUNDS + 1)
        ),


rule evaluated:
    input:
        EVALUATION_FILES,


rule in_domain:
    input:
        f"{RUN}/detector/in-domain/checkpoint.pth",
        f"{RUN}/detector/in-domain/scores_val.json"
        if HAS_VAL and data_of(VAL, "annotations")
        else [],


localrules:
    all,
    pseudo_masks,
    trained,
    evaluated,
    in_domain,


onstart:
    # left by a Snakemake that was killed; a stage itself replaces its result in one step, so it needs none
    shutil.rmtree(Path(".snakemake/backups"), ignore_errors=True)
    note_settings(SETTINGS)


onerror:
    take_back(workflow)
    if found := failures(BASES, STARTED):
        print(found, file=sys.stderr)
    if found := failed_images(CONFIG, STARTED):
        print(found, file=sys.stderr)


onsuccess:
    # Snakemake names its log after this; where the results lie is to be seen last, so it is registered first.
    atexit.register(print, ending(CONFIG, STARTED), end="", flush=True)
    if found := failed_images(CONFIG, STARTED):
        atexit.register(print, found, file=sys.stderr, flush=True)
