"""What the speed benchmarks share: records, models, the ways that are compared, clocks, tables and pictures."""
