"""What API Gateway does on AWS and the emulator does not: the short address, its refusals, and who may call it."""
