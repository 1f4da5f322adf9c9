"""Shared parts of all commands: errors and exit codes, output, environment and child processes."""
