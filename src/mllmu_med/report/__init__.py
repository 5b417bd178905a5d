"""The report: tables for the terminal and for files, pictures, and one web page that opens from disk.

Reads ``results.json``, the benchmark's samples and the models' answers, and knows nothing of models or training.
"""
