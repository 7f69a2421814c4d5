"""`grng sweep`: what is searched, by whom, which trial was best."""
