"""The stack of `template.yaml` on one machine, for `make run` and the end-to-end tests."""
