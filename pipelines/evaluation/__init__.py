"""Evaluation: is the tuned model better than the base, and how sure is that?"""
