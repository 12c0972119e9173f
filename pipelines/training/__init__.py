"""Training: a small model learns a dataset as a QLoRA adapter."""
