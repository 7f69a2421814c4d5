"""`--tune`: a sweep for each row of a comparison, then rows with their best values."""
