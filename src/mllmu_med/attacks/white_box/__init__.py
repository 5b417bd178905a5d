"""Attacks that read hidden states (UnLOK-VQA, arXiv 2505.01456)."""
