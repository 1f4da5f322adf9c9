"""What the tests share: scenarios of a shop, API Gateway's events, and the template's tables on any engine."""
