"""Training: the loop, its exact resume, and the three things done with it: warm up the tower, learn, unlearn."""
