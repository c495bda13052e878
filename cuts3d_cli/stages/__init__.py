"""One module per stage: open the inputs, iterate over a shard, call core, write, count."""
