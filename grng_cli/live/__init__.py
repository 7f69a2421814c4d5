"""What is seen while something runs."""
