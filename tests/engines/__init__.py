"""Tests of what runs go on beyond this machine; tier `engines`."""
