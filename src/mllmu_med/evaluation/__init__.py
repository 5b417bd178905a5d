"""Evaluation: what a model says to every probe, and what that is worth. Metrics never see a model."""
