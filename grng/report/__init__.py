"""Reports: run directories in, tables and sentences out; nothing here trains or prints."""
