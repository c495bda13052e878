# Named targets.


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


onerror:
    if found := failures(BASES, STARTED):
        print(found, file=sys.stderr)


onsuccess:
    if (
        Path(rules.report.output.table).exists()
        and Path(rules.report.output.table).stat().st_mtime >= STARTED
    ):
        print(Path(rules.report.output.table).read_text())
        print(f"report: {Path(rules.report.output.html).resolve()}")
        from cuts3d_cli.report.run_summary import (
            detections_command,
        )  # slow to import

        if command := detections_command(RUN, TRAININGS):
            print(f"to see what the detector finds: {command}")
