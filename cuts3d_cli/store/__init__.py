"""Files on disk: layout of a run, Zarr stores, image list, images, COCO JSON."""
