"""Curvature of neural networks by Kronecker factors: capture, factors, inverses. Needs torch and nothing else."""
