"""Trains and evaluates the embedded depth model (``cuts3d_cli.backends.depth_embedded``)."""
