"""CutS3D on arrays: one module per step of the paper, no files, no models, no configuration objects.

Patches lie on a grid (h, w) and are numbered row by row; n = h * w. Keyword arguments carry the names
of the configuration's fields, and no defaults. Depth is in [0, 1], 0 nearest.
"""
