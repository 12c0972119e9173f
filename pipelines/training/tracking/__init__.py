"""Tracking: what a run logs, as curves, boards, a page and words."""
