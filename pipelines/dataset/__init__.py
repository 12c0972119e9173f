"""Datasets: written by a teacher, checked, split, and composed for training."""
