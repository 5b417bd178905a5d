"""What is kept between runs: tensors and whole stages by content, on a bounded piece of disk."""
