"""Readers of ground truth: COCO, LVIS, Pascal VOC, ImageNet, KITTI and OpenImages files into one COCO document.

Each reader is one module with one function ``read``; :func:`cuts3d_cli.evaluation.readers.formats.read_truth` picks it.
"""
