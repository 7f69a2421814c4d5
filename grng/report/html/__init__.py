"""The report as one HTML page: run directories in, a file that needs nothing else out."""
