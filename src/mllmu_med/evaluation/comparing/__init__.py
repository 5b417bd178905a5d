"""Comparing rows: is a difference more than chance, more than a seed, more than two oracles differ by?"""
