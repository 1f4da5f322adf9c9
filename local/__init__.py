"""The whole of `template.yaml` on one machine: `make run`, and the stack that the end-to-end tests run against."""
