"""Several models and data sets in one comparison."""
