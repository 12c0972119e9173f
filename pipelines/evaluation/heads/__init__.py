"""Heads on their held-out texts: what they score, against what needs no neural network."""
