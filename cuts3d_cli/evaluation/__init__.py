"""Class-agnostic COCO evaluation, overlay pictures and the report."""
