"""Engines: what answers questions and, where it can, says how likely an answer is. In this process, or over HTTP."""
