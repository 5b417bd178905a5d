"""Private values in answers: how they may be written, and whether an answer tells them."""
