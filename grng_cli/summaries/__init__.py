"""What is printed when it has ended."""
