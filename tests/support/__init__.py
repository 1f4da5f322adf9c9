"""What the tests share: the template's tables on any engine, API Gateway's events, and functions loaded as Lambda does."""
