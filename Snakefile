# cuts3d as a workflow: images -> pseudo-masks -> detector -> self-training -> evaluation -> report.
#
#   <run>/manifest.jsonl                      the image list
#   <run>/settings/                           the configuration read by the jobs
#   <run>/{depth,features,...}/<shard>.zarr   stores of a stage and shard, shared by all methods
#   <run>/masks/<method>/{localcut,...}/      stores of a method (cuts3d, maskcut, ...); crf writes <shard>.json
#   <run>/masks/<method>/pseudo_masks.json    the masks of all shards
#   <run>/val/                                the same for the held-out images
#   <run>/detector/round<t>/                  detector after the first training (0) and after each round of self-training
#   <run>/evaluation/*.json, results.json, report.html
#   <run>/experiments/                        the paper's ablations, on request only
#   <run>/finetune/                           detectors fine-tuned on labels, on request only
#
# With train.detector: null the run ends with the masks, their scores and the report.
# Targets: pseudo_masks, trained, evaluated, report (default: report); table4, table5, table6, results; in_domain; finetuned.

from snakemake.utils import min_version

min_version("9.20")

if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


include: "rules/common.smk"


# Everything that a run is made for, so that what was deleted of it is made again. Stores and shards of masks are not
# among it: they may be deleted to save space, and are made again where something needs them.
rule all:
    input:
        lambda wc: [*PRODUCTS, *rules.report.output],


include: "rules/prepare.smk"
include: "rules/pseudo_masks.smk"
include: "rules/detector.smk"
include: "rules/evaluation.smk"
include: "rules/experiments.smk"
include: "rules/finetune.smk"
include: "rules/targets.smk"
