"""Makes the sample dataset: path-traced table-top scenes with instance masks and metric depth.

Run it as ``python -m scripts.make_sample --help`` from the root of the repository.
"""
