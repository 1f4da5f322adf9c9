"""The one logger: a JSON object a line, with the keys that the edge adds for each request."""

from aws_lambda_powertools.logging import Logger

logger = Logger()
