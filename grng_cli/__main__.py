"""`python -m grng_cli` is the command `grng`."""

from __future__ import annotations

from grng_cli.main import run

if __name__ == "__main__":
    run()
