"""Black-box attacks: questions and answers are all they need."""
