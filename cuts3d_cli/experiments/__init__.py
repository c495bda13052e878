"""The paper's ablations and fine-tuning on labels, made on request only."""
