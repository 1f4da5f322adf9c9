"""The AWS emulator: its process, the template deployed to it, and what the functions log there."""
