"""Attacks that look at the likelihoods of given answers."""
