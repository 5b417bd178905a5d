"""Inside the model: what hidden states still hold."""
