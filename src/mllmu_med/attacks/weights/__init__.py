"""Attacks that change the weights."""
