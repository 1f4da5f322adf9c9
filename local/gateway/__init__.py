"""Parts of API Gateway that the emulator lacks: the short address, gateway responses and protection from web pages."""
