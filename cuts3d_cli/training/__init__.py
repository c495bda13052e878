"""Training, self-training, prediction: what the commands of these names do around `detector`."""
