"""The command line of grng: parses, calls the library, prints."""
