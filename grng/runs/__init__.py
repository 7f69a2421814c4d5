"""What a run is, before anyone trains it: its configuration, identity, directory and result."""
