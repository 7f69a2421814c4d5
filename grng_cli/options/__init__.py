"""The options of the commands, one file for each subject."""
