"""A dataset is written: tasks, writers, and what takes in what they write."""
