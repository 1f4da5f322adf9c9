"""The parts of API Gateway that the emulator lacks: the short address, its own error responses, and who may call it."""
