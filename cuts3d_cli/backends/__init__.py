"""Depth and feature models behind two small protocols (``base``) and a name table."""
