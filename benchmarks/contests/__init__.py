"""What comes of a contest: figures of its runs, tables, goals."""
