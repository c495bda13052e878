"""Declaring and running stages: the graph, one stage on one shard or image, the cache of single images."""
