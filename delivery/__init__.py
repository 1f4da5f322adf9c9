"""What is shipped: packages, releases, documents made from the code, and the pipeline's roles in AWS."""
