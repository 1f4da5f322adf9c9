"""What every command of this repository builds on: errors and exit codes, output, environment and child processes."""
