"""One run: the only training loop, what makes runs comparable (seeding, pairing, clock) and safe (checkpoints)."""
