"""What only the paper's experiments need; imported by their notebooks alone."""
