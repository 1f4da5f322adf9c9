"""The AWS emulator: process, deployment and function logs."""
