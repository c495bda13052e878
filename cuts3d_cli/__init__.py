"""cuts3d: unsupervised instance segmentation by cutting in 3D (CutS3D, ICCV 2025)."""

__version__ = "0.1.0"
