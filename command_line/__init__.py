"""Shared by all commands: errors and exit codes, output, environment and child processes."""
