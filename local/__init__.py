"""The stack of `template.yaml` on one machine, for `make run` and for the end-to-end tests."""
